package audit

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Linux's locks of open file descriptions: unlike POSIX locks they do not end
// when some other descriptor of the file is closed, and end with the process,
// however it ends.
const (
	ofdGetLock = 36
	ofdSetLock = 37
)

// presence is held by every process that has the record open.
type presence struct{ f *os.File }

// attend takes a lock that others may hold too.
func attend(path string) (*presence, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	shared := syscall.Flock_t{Type: syscall.F_RDLCK, Len: 1}
	if err := syscall.FcntlFlock(f.Fd(), ofdSetLock, &shared); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return &presence{f: f}, nil
}

// alone reports that nobody else holds it: whether it could be held alone is
// asked, and nothing changed.
func (p *presence) alone() bool {
	exclusive := syscall.Flock_t{Type: syscall.F_WRLCK, Len: 1}
	err := syscall.FcntlFlock(p.f.Fd(), ofdGetLock, &exclusive)
	return err == nil && exclusive.Type == syscall.F_UNLCK
}

func (p *presence) close() error { return p.f.Close() }
