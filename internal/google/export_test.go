package google

// Connecting is connecting, for its test.
func Connecting(service string, err error) error { return connecting(service, err) }
