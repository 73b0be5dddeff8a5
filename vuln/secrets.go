package vuln

import (
	"cmp"
	"slices"
	"strings"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

// maxSecretPath is how many bytes of a path are kept. A longer one is cut, so that no exception's pattern fits it by
// accident.
const maxSecretPath = 1024

// appendSecrets adds the secrets of o to list: one for each place. Whoever reported it, it counts, since a secret can
// only make the verdict worse.
//
// Of the occurrence only kind, places and statuses are read. Its data may be the secret itself, a digest of it can be
// compared with guesses, and a status' message is the issuer's text about it.
func appendSecrets(list []attestor.Secret, o *grafeaspb.Occurrence) []attestor.Secret {
	s := o.GetSecret()
	if s == nil && o.GetKind() != grafeaspb.NoteKind_SECRET {
		return list
	}

	// One without readable details is a secret all the same, of no known kind, place and status.
	found := attestor.Secret{
		Kind: secretKind(s.GetKind()), Status: secretStatus(s.GetStatuses()), Note: o.GetNoteName(),
	}
	if len(s.GetLocations()) == 0 {
		return append(list, found)
	}

	for _, l := range s.GetLocations() {
		place := found
		file := l.GetFileLocation()
		if place.Path = file.GetFilePath(); len(place.Path) > maxSecretPath {
			place.Path = strings.ToValidUTF8(place.Path[:maxSecretPath], "") + "…"
		}
		if id, ok := diffID(file.GetLayerDetails().GetDiffId()); ok {
			place.DiffID = id
		}
		list = append(list, place)
	}
	return list
}

// secretKind drops the prefix that all kinds share. A kind of a later version keeps its number.
func secretKind(k grafeaspb.SecretKind) string {
	name, known := grafeaspb.SecretKind_name[int32(k)]
	if !known {
		return "KIND_" + k.String()
	}
	return strings.TrimPrefix(name, "SECRET_KIND_")
}

// secretStatus is the newest status. It is INVALID only if nothing contradicts it: no status of the same time, and none
// without a time, which may be newer.
func secretStatus(all []*grafeaspb.SecretStatus) string {
	var newest []*grafeaspb.SecretStatus
	var last time.Time
	for _, s := range all {
		at := timeOf(s.GetUpdateTime())
		switch {
		case at == nil:
			newest = append(newest, s)
		case at.After(last):
			last = *at
			newest = append(slices.DeleteFunc(newest, func(o *grafeaspb.SecretStatus) bool {
				return timeOf(o.GetUpdateTime()) != nil
			}), s)
		case at.Equal(last):
			newest = append(newest, s)
		}
	}

	// The worst of those that may be the newest.
	worst := attestor.SecretUnknown
	for i, s := range newest {
		if status := statusName(s.GetStatus()); i == 0 || harm(status) > harm(worst) {
			worst = status
		}
	}
	return worst
}

func statusName(s grafeaspb.SecretStatus_Status) string {
	switch s {
	case grafeaspb.SecretStatus_STATUS_UNSPECIFIED, grafeaspb.SecretStatus_UNKNOWN:
		return attestor.SecretUnknown
	case grafeaspb.SecretStatus_VALID:
		return attestor.SecretValid
	case grafeaspb.SecretStatus_INVALID:
		return attestor.SecretInvalid
	}
	return "STATUS_" + s.String()
}

// harm orders statuses; a status of a later version may mean anything.
func harm(status string) int {
	switch status {
	case attestor.SecretInvalid:
		return 0
	case attestor.SecretUnknown:
		return 1
	case attestor.SecretValid:
		return 2
	}
	return 3
}

// mergeSecrets sorts list and drops reports that are equal in everything.
func mergeSecrets(list []attestor.Secret) []attestor.Secret {
	slices.SortFunc(list, compareSecrets)
	list = slices.CompactFunc(list, func(a, b attestor.Secret) bool { return a == b })
	if len(list) == 0 {
		return nil
	}
	return list
}

func compareSecrets(a, b attestor.Secret) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Status, b.Status),
		cmp.Compare(a.DiffID, b.DiffID), cmp.Compare(a.Note, b.Note),
	)
}
