package verify

import "net/netip"

// MayDial answers for a configuration of registries.
func MayDial(r Registries, host string, addr netip.Addr) (bool, error) {
	h, err := newHosts(r)
	if err != nil {
		return false, err
	}
	return h.mayDial(host, addr), nil
}

// Allowed reports whether, and how, a registry is spoken to.
func Allowed(r Registries, host string) (scheme string, ok bool, err error) {
	h, err := newHosts(r)
	if err != nil {
		return "", false, err
	}
	scheme, ok = h.scheme(host)
	return scheme, ok, nil
}

// ParsePasswd is what names are resolved with.
func ParsePasswd(content []byte, name string) (uid, gid int64, err error) {
	return parsePasswd(content, name)
}
