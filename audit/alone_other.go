//go:build !linux

package audit

// presence is not known elsewhere: nobody believes to be alone.
type presence struct{}

func attend(string) (*presence, error) { return &presence{}, nil }

func (*presence) alone() bool { return false }

func (*presence) close() error { return nil }
