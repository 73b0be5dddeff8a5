package cause

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// Silence says in few words why a host that is not one of Google's services did not answer, and what to do about it;
// nothing where its kind is not known. The libraries' own text is for the log: it names addresses and both schemes,
// whichever the host has.
func Silence(host string, err error) (why, fix string) {
	const check = "check that it runs and can be reached from here, then try again"
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case err == nil:
		return "", ""
	case errors.As(err, &dns):
		return "its name is not known", "correct the reference, or check its DNS"
	case errors.As(err, &cert):
		return "its certificate is not one that is trusted here",
			"give it a certificate for " + host + " from an authority that the system trusts"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "it speaks no TLS",
			"add " + host + " to registries.plainHTTP in the gate's configuration, if it is meant to"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", check
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		return "it closed the connection", check
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to it", check
	}
	return "", ""
}
