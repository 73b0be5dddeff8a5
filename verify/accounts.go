package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/attestor-gate/attestor"
)

// resolve looks the names in an image's USER up in the image's own /etc/passwd
// and /etc/group, as these are after all layers were unpacked. Where runtimes
// could see another file, or read it differently, the name is refused.
//
// It follows what moby (user.GetExecUser) and containerd (oci.WithUser) do: a
// user by name takes uid from its entry, and the gid too unless USER names a
// group; a group by name takes the gid from its entry. members asks for the
// user's further groups too.
func (i *Inspector) resolve(
	ctx context.Context, s subject, u attestor.User, members bool,
) (attestor.User, []attestor.Problem) {
	name, group, grouped := strings.Cut(s.config.Config.User, ":")
	byName, groupByName := u.UID == nil, grouped && u.GID == nil

	wanted := []accountFile{groupFile}
	if members {
		wanted = append(wanted, passwdFile)
	}

	// Both files are looked for in one walk: reading a layer is what costs.
	texts := i.accounts(ctx, s, wanted)

	var problems []attestor.Problem
	if byName {
		uid, gid, err := texts[passwdFile].user(name)
		if err != nil {
			// The group of a user that is not known decides nothing.
			return u, []attestor.Problem{unresolvedUser(name, err)}
		}

		u.UID, u.Source = &uid, attestor.UserFromPasswd
		if !grouped {
			u.GID = &gid
		}
		if uid == 0 {
			problems = append(problems, problem(attestor.CheckUser, attestor.CodeUserRootDisguised, strconv.Quote(name),
				"user "+strconv.Quote(name)+" has uid 0 in the image's /etc/passwd", fixUser))
		}
	}

	if groupByName {
		gid, err := texts[groupFile].gid(group)
		if err != nil {
			return u, append(problems,
				unresolvedGroup(s.config.Config.User, fmt.Sprintf("group %q", group), groupFile, err))
		}
		u.GID = &gid
	}
	if members && *u.UID != 0 {
		problems = append(problems, memberships(s.config.Config.User, name, *u.UID, texts)...)
	}
	return u, problems
}

// memberships says whether a user is a member of group 0, or that it is not known.
//
// moby does as it comments, "Supplementary group ids only make sense if in the implicit form" (user.GetExecUser), which
// is USER app or USER 1000; containerd adds the groups of the user whether USER names a group or not
// (oci.WithAdditionalGIDs). Both look a number up in /etc/passwd, and take the groups of the first user there that has
// it. containerd does so for a user by name too, where it starts an image without a kubelet (oci.WithImageConfigArgs).
// The stricter counts, and of several users with the number each.
func memberships(configured, name string, uid int64, texts [accountFiles]accountText) []attestor.Problem {
	// Without either file no runtime gives further groups: a number without a user in /etc/passwd has none.
	if texts[passwdFile].absent || texts[groupFile].absent {
		return nil
	}

	what := fmt.Sprintf("further groups of user %q", name)
	names, err := texts[passwdFile].names(uid)
	switch {
	case err != nil:
		return []attestor.Problem{unresolvedGroup(configured, what, passwdFile, err)}
	case len(names) == 0:
		return nil
	}

	member, group, err := texts[groupFile].rootGroupOf(names)
	switch {
	case err != nil:
		return []attestor.Problem{unresolvedGroup(configured, what, groupFile, err)}
	case group == "":
		return nil
	}

	user := strconv.Quote(name)
	if member != name {
		user = fmt.Sprintf("user %q, who has the uid of %q in the image's /etc/passwd,", clip(member), name)
	} else {
		user = "user " + user
	}
	p := problem(attestor.CheckUser, attestor.CodeGroupRoot, strconv.Quote(configured),
		fmt.Sprintf("%s is a member of group %q in the image's /etc/group, which has gid 0", user, clip(group)),
		"take the user out of the group, or end the Dockerfile with numbers of a user who is in no such group: "+fixUser)
	p.Status = attestor.StatusDeny // it was found out, and the policy says whether it refuses
	return []attestor.Problem{p}
}

// unresolvedUser says why a user's name has no uid.
func unresolvedUser(name string, err error) attestor.Problem {
	p := problemOf(attestor.CheckUser, err, strconv.Quote(name))
	switch {
	case p.Code == attestor.CodeUserUnresolved:
		p.Message = fmt.Sprintf("user %q cannot be resolved from the image's /etc/passwd: %s", name, p.Message)
	case contradicts(p.Code):
		return p
	default:
		p.Code, p.Status = attestor.CodeUserLookupFailed, attestor.StatusError
		p.Message = fmt.Sprintf("the image's /etc/passwd could not be read for user %q: %s", name, p.Message)
	}
	p.Fix = fixUser
	return p
}

// unresolvedGroup says why the gids of a group, or of a user's groups, are not
// known. Unlike a user, a group that is not known is refused only if the policy
// cares about group 0, so that the code is the group's own even where the
// registry failed.
func unresolvedGroup(configured, what string, file accountFile, err error) attestor.Problem {
	p := problemOf(attestor.CheckUser, err, strconv.Quote(configured))
	switch {
	case p.Code == attestor.CodeUserUnresolved:
		p.Message = fmt.Sprintf("%s cannot be resolved from the image's %s: %s", what, file.path(), p.Message)
	case contradicts(p.Code):
		return p
	default:
		p.Status = attestor.StatusError
		p.Message = fmt.Sprintf("the image's %s could not be read for %s: %s", file.path(), what, p.Message)
	}
	p.Code, p.Fix = attestor.CodeGroupUnresolved, fixUser
	return p
}

// accountText is a file of accounts as a container sees it, or why that is not
// known.
type accountText struct {
	content []byte
	err     error
	absent  bool // the container has no such file: err says so
}

// names lists the users that have a uid.
func (t accountText) names(uid int64) ([]string, error) {
	if t.err != nil {
		return nil, t.err
	}
	names, err := parseNames(t.content, uid)
	if err != nil {
		return nil, unresolved("%s", err)
	}
	return names, nil
}

// rootGroupOf names a group with gid 0, and which of some users is a member; "" for none.
func (t accountText) rootGroupOf(names []string) (member, group string, err error) {
	if t.err != nil {
		return "", "", t.err
	}
	if member, group, err = parseMembers(t.content, names); err != nil {
		return "", "", unresolved("%s", err)
	}
	return member, group, nil
}

func (t accountText) user(name string) (uid, gid int64, err error) {
	if t.err != nil {
		return 0, 0, t.err
	}
	if uid, gid, err = parsePasswd(t.content, name); err != nil {
		return 0, 0, unresolved("%s", err)
	}
	return uid, gid, nil
}

func (t accountText) gid(name string) (int64, error) {
	if t.err != nil {
		return 0, t.err
	}
	gid, err := parseGroups(t.content, name)
	if err != nil {
		return 0, unresolved("%s", err)
	}
	return gid, nil
}

func unresolved(format string, args ...any) error {
	return fault(attestor.CodeUserUnresolved, fmt.Sprintf(format, args...), fixUser, nil)
}

// accounts returns the wanted files as they remain when all layers are unpacked.
// Layers are read from the top down, until nothing below can change what was found of any file.
func (i *Inspector) accounts(ctx context.Context, s subject, wanted []accountFile) [accountFiles]accountText {
	searches := make([]*search, 0, len(wanted))
	for _, f := range wanted {
		searches = append(searches, &search{file: f})
	}
	done := func(q *search) bool { return q.final || q.err != nil }

	for n, l := range slices.Backward(*s.doc.Layers) {
		if !slices.ContainsFunc(searches, func(q *search) bool { return !done(q) }) {
			break
		}

		// An error of this layer is one of every file that is not found yet: the layer may write it.
		e, err := i.layers.effect(ctx, s, n)
		for _, q := range searches {
			switch {
			case done(q):
			case err != nil:
				q.err = err
			default:
				q.err = q.descend(n, l, e)
			}
		}
	}

	var texts [accountFiles]accountText
	for _, q := range searches {
		// All layers were read whole, each with the diffID that the config lists,
		// so that what was not found is not in the image.
		if q.err == nil && q.found == nil {
			q.err, q.absent = unresolved("the image has no %s", q.file.path()), true
		}
		texts[q.file] = accountText{content: q.found, err: q.err, absent: q.absent}
	}
	return texts
}

// search follows one file of accounts down the layers.
type search struct {
	file  accountFile
	found []byte // nil: not found yet
	final bool   // no layer below could change what was found
	err   error
	// no layer has the file, or the topmost that speaks of it removes it
	absent bool
}

// descend takes what the next lower layer does, which is layer n.
func (q *search) descend(n int, l descriptor, e layerEffect) error {
	f := e.files[q.file]
	switch {
	// An absence counts only for what was read whole.
	case e.limited != "":
		return limited(n, l, e.limited)
	case q.found == nil && f.limited != "":
		return limited(n, l, f.limited)
	case e.refused != "":
		return unresolved("%s: %s", layerName(n, l), e.refused)
	case f.refused != "":
		return unresolved("%s: %s", layerName(n, l), f.refused)
	case f.doubtful != "" && n > 0:
		// Beneath the lowest layer there is nothing that could be a link.
		return unresolved(
			"%s writes /%s without its directories, which may be links to /etc", layerName(n, l), f.doubtful,
		)
	}

	// The topmost layer that writes the file decides what is in it.
	switch {
	case q.found != nil:
	case f.present:
		q.found = append([]byte{}, f.content...)
	case f.removed:
		q.absent = true
		return unresolved("%s removes %s", layerName(n, l), q.file.path())
	}

	// A file without its directory is unpacked into whatever /etc is below: the
	// search goes on until a layer has /etc as a directory, or begins anew.
	q.final = q.found != nil && (e.etcDir || e.etcGone)
	return nil
}

// limited names a layer that was not read to its end, and the limit.
func limited(n int, l descriptor, why string) error {
	return fault(attestor.CodeLayerTooLarge, layerName(n, l)+": "+why, "make the layer smaller", nil)
}

// Lines longer than these are refused: bufio.Scanner, which runtimes read these
// files with, fails at 64 KiB, and not all of them raise that.
const (
	maxPasswdLine = 4 << 10
	maxGroupLine  = 32 << 10
)

// parsePasswd finds a user. It accepts only what every runtime reads alike: one
// entry of that name, seven fields, canonical decimal ids.
func parsePasswd(content []byte, name string) (uid, gid int64, err error) {
	entry, err := accountEntry(content, name, 7, maxPasswdLine)
	if err != nil {
		return 0, 0, err
	}
	if uid, err = parseID(entry[2]); err != nil {
		return 0, 0, fmt.Errorf("its uid %w", err)
	}

	if gid, err = parseID(entry[3]); err != nil {
		return 0, 0, fmt.Errorf("its gid %w", err)
	}
	return uid, gid, nil
}

// parseGroups finds a group as parsePasswd finds a user, in a file of lines of
// four fields: name, password, gid and members.
func parseGroups(content []byte, name string) (gid int64, err error) {
	entry, err := accountEntry(content, name, 4, maxGroupLine)
	if err != nil {
		return 0, err
	}
	if gid, err = parseID(entry[2]); err != nil {
		return 0, fmt.Errorf("its gid %w", err)
	}
	return gid, nil
}

// parseNames lists the users whose uid a runtime could read as the one given: spaces, a sign and leading zeros do not
// hide an entry from strconv.Atoi, which runtimes use.
func parseNames(content []byte, uid int64) (names []string, err error) {
	if hasControls(content) {
		return nil, errors.New("it has control characters")
	}
	for line := range strings.SplitSeq(string(content), "\n") {
		if len(line) > maxPasswdLine {
			return nil, fmt.Errorf("it has a line of more than %d bytes", maxPasswdLine)
		}

		// What is missing or no number reads as 0, which is not asked for.
		fields := strings.Split(line, ":")
		if len(fields) < 3 {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(fields[2]), 10, 64); err == nil && n == uid {
			names = append(names, strings.TrimSpace(fields[0]))
		}
	}
	return names, nil
}

// parseMembers finds a group with gid 0 that lists one of some users; "" if there is none. Whatever a runtime could read
// as such a line counts.
func parseMembers(content []byte, names []string) (member, group string, err error) {
	if hasControls(content) {
		return "", "", errors.New("it has control characters")
	}

	// The image chooses both files: each member is looked up once, however many users there are.
	wanted := make(map[string]bool, len(names))
	for _, name := range names {
		wanted[name] = name != ""
	}

	for line := range strings.SplitSeq(string(content), "\n") {
		if len(line) > maxGroupLine {
			return "", "", fmt.Errorf("it has a line of more than %d bytes", maxGroupLine)
		}
		fields := strings.Split(line, ":")
		if len(fields) < 4 {
			continue
		}
		members := strings.Split(fields[3], ",")
		n := slices.IndexFunc(members, func(listed string) bool { return wanted[strings.TrimSpace(listed)] })
		if n < 0 {
			continue
		}

		// As for the group that USER names: what is no plain number reads as 0, or not at all.
		gid, err := parseID(fields[2])
		switch {
		case err != nil:
			return "", "", fmt.Errorf("the gid of a group with the member %w", err)
		case gid == 0:
			return strings.TrimSpace(members[n]), cmp.Or(strings.TrimSpace(fields[0]), "0"), nil
		}
	}
	return "", "", nil
}

func hasControls(content []byte) bool {
	return slices.ContainsFunc(content, func(b byte) bool { return b < ' ' && b != '\n' && b != '\t' || b == 0x7f })
}

// accountEntry returns the fields of the only line about name.
func accountEntry(content []byte, name string, fields, longest int) ([]string, error) {
	if hasControls(content) {
		return nil, errors.New("it has control characters")
	}

	var entry []string
	for line := range strings.SplitSeq(string(content), "\n") {
		if len(line) > longest {
			return nil, fmt.Errorf("it has a line of more than %d bytes", longest)
		}

		// Runtimes trim lines, and so would take " name" for name.
		split := strings.Split(line, ":")
		if strings.TrimSpace(split[0]) != name {
			continue
		}

		// Of two entries, which one counts differs between runtimes.
		if entry != nil {
			return nil, errors.New("it has two entries of that name")
		}
		entry = split
	}

	switch {
	case entry == nil:
		return nil, errors.New("it has no entry of that name")
	case len(entry) != fields || entry[0] != name:
		// moby parses lines "with conversion errors ignored": a field that is
		// missing or is no number reads as 0.
		return nil, errors.New("the entry is malformed, and runtimes may read its id as 0")
	}
	return entry, nil
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
