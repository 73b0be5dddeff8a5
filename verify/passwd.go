package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/attestor-gate/attestor"
)

// resolveName looks the user's name up in the image's own /etc/passwd, as it
// is after all layers were unpacked. Where runtimes could see another file, or
// read it differently, the name is refused.
func (i *Inspector) resolveName(ctx context.Context, s subject, u attestor.User) (attestor.User, []attestor.Problem) {
	name, _, _ := strings.Cut(s.config.Config.User, ":")
	subject := strconv.Quote(name)
	content, err := i.passwd(ctx, s)
	if err != nil {
		p := problemOf(attestor.CheckUser, err, subject)
		if p.Code != attestor.CodeUserUnresolved {
			p.Code, p.Status = attestor.CodeUserLookupFailed, attestor.StatusError
			p.Message = "the image's /etc/passwd could not be read: " + p.Message
		}
		p.Fix = fixUser
		return u, []attestor.Problem{p}
	}
	uid, gid, err := parsePasswd(content, name)
	if err != nil {
		return u, []attestor.Problem{problem(attestor.CheckUser, attestor.CodeUserUnresolved, subject, "the image's /etc/passwd does not say who "+subject+" is: "+err.Error(), fixUser)}
	}
	u.UID, u.Source = &uid, attestor.UserFromPasswd
	if !strings.Contains(s.config.Config.User, ":") {
		u.GID = &gid
	}
	if uid == 0 {
		return u, []attestor.Problem{problem(attestor.CheckUser, attestor.CodeUserRootDisguised, subject, "user "+subject+" has uid 0 in the image's /etc/passwd", fixUser)}
	}
	return u, nil
}

// passwd is the file that remains when all layers are unpacked.
func (i *Inspector) passwd(ctx context.Context, s subject) ([]byte, error) {
	unresolved := func(format string, args ...any) error {
		return fault(attestor.CodeUserUnresolved, fmt.Sprintf(format, args...), fixUser, nil)
	}
	var found *passwdEffect
	for n, l := range slices.Backward(*s.doc.Layers) {
		e, err := i.layers.effect(ctx, s.image, l)
		switch {
		case err != nil:
			return nil, err
		case e.refused != "":
			return nil, unresolved("layer %d: %s", n+1, e.refused)
		case e.doubtful != "" && n > 0:
			// Beneath the lowest layer there is nothing that could be a link.
			return nil, unresolved("layer %d writes /%s without its directories, which may be links to /etc", n+1, e.doubtful)
		}
		if found == nil && e.present {
			found = &e
		}
		if found == nil && e.removed {
			return nil, unresolved("layer %d removes /etc/passwd", n+1)
		}
		// A file without its directory is unpacked into whatever /etc is
		// below, so that the search goes on until that is known.
		if found != nil && (e.etcDir || e.removed) {
			return found.content, nil
		}
	}
	if found == nil {
		return nil, unresolved("the image has no /etc/passwd")
	}
	return found.content, nil
}

const maxPasswdLine = 4096

// parsePasswd finds name. It accepts only what every runtime reads alike: one
// entry of that name, seven fields, canonical decimal ids.
func parsePasswd(content []byte, name string) (uid, gid int64, err error) {
	if slices.ContainsFunc(content, func(b byte) bool { return b < ' ' && b != '\n' && b != '\t' || b == 0x7f }) {
		return 0, 0, errors.New("it has control characters")
	}
	var entry []string
	for line := range strings.SplitSeq(string(content), "\n") {
		if len(line) > maxPasswdLine {
			return 0, 0, errors.New("it has a line that is too long")
		}
		fields := strings.Split(line, ":")
		// Runtimes trim lines, and so would take " name" for name.
		if strings.TrimSpace(fields[0]) != name {
			continue
		}
		if entry != nil {
			return 0, 0, errors.New("it has two entries of that name")
		}
		entry = fields
	}
	switch {
	case entry == nil:
		return 0, 0, errors.New("it has no entry of that name")
	case len(entry) != 7 || entry[0] != name:
		return 0, 0, errors.New("the entry is malformed, and runtimes may take it for root")
	}
	if uid, err = parseID(entry[2]); err != nil {
		return 0, 0, fmt.Errorf("its uid %w", err)
	}
	if gid, err = parseID(entry[3]); err != nil {
		return 0, 0, fmt.Errorf("its gid %w", err)
	}
	return uid, gid, nil
}

func parseID(s string) (int64, error) {
	if !canonicalID.MatchString(s) {
		return 0, fmt.Errorf("is %q, which is not a plain number", clip(s))
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > maxID {
		return 0, fmt.Errorf("%s is larger than %d", s, maxID)
	}
	return n, nil
}
