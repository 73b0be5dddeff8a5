package verify

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// maxID is the largest uid or gid that every runtime reads alike: beyond it
// some refuse, and some wrap around, at 1<<32 to root.
const maxID = 1<<31 - 1

const fixUser = "USER 65532:65532"

var (
	// zeroID is how 0 can be written for strconv.Atoi, which runtimes use.
	zeroID      = regexp.MustCompile(`^[+-]?0+$`)
	canonicalID = regexp.MustCompile(`^(0|[1-9][0-9]{0,9})$`)
	integer     = regexp.MustCompile(`^[+-]?[0-9]+$`)
	// accountName is what useradd accepts, in upper case too.
	accountName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?$`)
)

// ParseUser reads the user of an image's config as runtimes do, from the text
// alone.
//
// UID is set where the text proves one. It is 0 for every way to write root,
// with no Problem where it is written plainly ("", "0", "root", each with any
// group) and with a USER_ROOT_DISGUISED one where it does not look so. UID is
// nil, and there is a Problem, for a name (USER_NOT_NUMERIC) and for what
// runtimes read differently or refuse (USER_INVALID). GID is 0 where no group
// is given, and nil for a group's name, which only the image could resolve.
func ParseUser(configured string) (attestor.User, *attestor.Problem) {
	u := attestor.User{Configured: boundedText(configured)}
	root := func() { u.UID, u.Source = new(int64), attestor.UserFromConfig }
	refuse := func(code attestor.Code, format string, args ...any) (attestor.User, *attestor.Problem) {
		p := problem(attestor.CheckUser, code, quoted(configured), fmt.Sprintf(format, args...), fixUser)
		return u, &p
	}

	name, group, grouped := strings.Cut(configured, ":")
	gid, groupOK := parseGroup(group, grouped)
	u.GID = gid

	// Whatever any runtime takes for root is root, however it is written. Those
	// come first, so that no later case can find another user in it.
	switch {
	case configured == "", name == "0" && groupOK, name == "root" && groupOK:
		root()
		return u, nil
	case name == "":
		root()
		return refuse(attestor.CodeUserRootDisguised, "user %s names a group only, and so is root", quoted(configured))
	case name == "root", zeroID.MatchString(name):
		root()
		return refuse(attestor.CodeUserRootDisguised, "user %s is root, written in another way", quoted(configured))
	case wrapsToRoot(name):
		root()
		return refuse(
			attestor.CodeUserRootDisguised, "user %s is root where runtimes keep 32 bits of it", quoted(configured),
		)
	}

	// A number proves a user only in the one form that all runtimes read alike.
	if canonicalID.MatchString(name) {
		uid, err := strconv.ParseInt(name, 10, 64)
		switch {
		case err != nil || uid > maxID:
			return refuse(attestor.CodeUserInvalid,
				"uid %s is larger than %d: some runtimes refuse it, others read another number", name, maxID)
		case !groupOK:
			return refuse(attestor.CodeUserInvalid,
				"user %s has a group that runtimes read differently or refuse", quoted(configured))
		}
		u.UID, u.Source = &uid, attestor.UserFromConfig
		return u, nil
	}

	switch {
	case integer.MatchString(name):
		return refuse(
			attestor.CodeUserInvalid,
			"user %s is a number that runtimes read differently; decimal digits without sign or leading zero "+
				"are allowed",
			quoted(configured),
		)
	case !accountName.MatchString(name) || !groupOK:
		return refuse(attestor.CodeUserInvalid, "user %s is neither a number nor a user name", quoted(configured))
	}

	return refuse(
		attestor.CodeUserNotNumeric,
		"user %s is a name, which cannot be proven not to be root (kubelet refuses it for runAsNonRoot)",
		quoted(configured),
	)
}

// quoted shows every character of hostile input, up to a length.
func quoted(s string) string { return plain.Quote(s, 200) }

// parseGroup accepts a canonical gid or a group name. No group counts as 0.
func parseGroup(group string, given bool) (*int64, bool) {
	switch {
	case !given, group == "root":
		return new(int64), true
	case canonicalID.MatchString(group):
		gid, err := strconv.ParseInt(group, 10, 64)
		if err != nil || gid > maxID {
			return nil, false
		}
		return &gid, true
	}
	return nil, accountName.MatchString(group)
}

// wrapsToRoot reports whether a number is 0 modulo 1<<32: containerd keeps
// that many bits of what fits into an int.
func wrapsToRoot(name string) bool {
	n, err := strconv.ParseInt(name, 10, 64)
	return err == nil && n&(1<<32-1) == 0
}

// user decides whom an image runs as: from the config alone, unless the policy
// wants names resolved and USER has one that could be another user than root, or
// refuses group 0, which a user by number may have as a further group.
func (i *Inspector) user(ctx context.Context, s subject, needs attestor.Needs) (attestor.User, []attestor.Problem) {
	u, p := ParseUser(s.config.Config.User)

	byName := p != nil && p.Code == attestor.CodeUserNotNumeric
	byNumber := p == nil && *u.UID != 0
	groupByName := byNumber && u.GID == nil

	// A gid of 0 is judged as it is, whatever further groups there are, and so is a group's name that is not looked up:
	// it proves nothing.
	ofNumber := false
	switch {
	case !needs.ResolveMembers || !byNumber:
	case groupByName:
		ofNumber = needs.ResolveNames
	default:
		ofNumber = *u.GID != 0
	}

	switch {
	case needs.ResolveNames && (byName || groupByName), ofNumber:
		return i.resolve(ctx, s, u, byName || ofNumber)
	case p != nil:
		return u, []attestor.Problem{*p}
	}
	return u, nil
}
