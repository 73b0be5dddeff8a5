// Package verify establishes facts about an image: its manifests, the user of each, and
// the approved base that each is built on. A fact follows from bytes that were hashed
// against the digest they were requested by, or from signatures. Claims of the image's
// author are kept apart, as hints. Which facts are acceptable is left to package policy,
// the verification of signatures to verify/signed, and of provenance to
// verify/provenance.
//
// # The catalogue of bases
//
// An image is built on a base if its lowest layers are the base's layers. The catalogue
// holds the layers of approved bases, by platform, so that this takes one look-up in
// memory and no request.
//
// What it learns: for each entry of a policy, the digests that its tags name, and when;
// and for each digest, the layers and diffIDs of its image for a platform. Everything is
// read by digest from the repository that the policy names and was hashed. Nothing that
// an image says is added: a digest that an image's author names is read for this one
// image only, and counts only if the base's publisher signed it. An author can therefore
// neither add a base nor make the catalogue grow, but for platforms that do not exist,
// of which a few are kept.
//
// When it looks again:
//
//   - [Inspector.RefreshBases] looks up all tags regularly, off the request path;
//   - an image that no known base matches causes a look-up of the tags that were not
//     looked up for a minute, and of the bases that could not be read;
//   - before an image is denied for its base, every tag whose last look-up began before
//     the image was asked about is looked up once more. The tag may have moved a moment
//     ago: without this, the first image on a new base would be denied.
//
// Simultaneous look-ups of one tag or entry are one, detached from the caller who came
// first. A look-up that fails twice running is repeated after a pause that grows to some
// seconds, so that a registry that is down is not asked by every request.
//
// What it forgets: nothing that it read by digest, since a digest's bytes do not change.
// That a tag names a digest counts while its registry cannot be asked for as long as the
// policy's maxBehind, or 15 minutes if that is longer: had the tag moved on at once, the
// base would still be accepted for maxBehind.
//
// Why that is safe: old knowledge can only approve a base that a tag of the policy did
// name, for a bounded time. Missing knowledge is an error (BASE_UNRESOLVED), never a
// denial, and no error passes an image: an image matches a base by layers that were
// hashed, whatever could not be looked up beside it.
package verify
