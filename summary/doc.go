// Package summary publishes verification summaries: for an image that passed, a signed statement in the form of SLSA's
// VSA, version 1, stored in a registry as a referrer of the image. Anyone who has the public key can so verify the
// gate's answer without Google's services.
//
// The rules are those of attestations. A statement is made from an [attestor.Authorization] and from nothing else. All
// statements of a request are signed, and verified by other code than made them, before the first is stored. A
// statement counts as stored once the registry lists it and returns its bytes. Of one digest and policy, one statement
// is current: it is reused while its result, levels and policy are those of the new decision and it is not too old; a
// new one replaces it. What is replaced or revoked is deleted, and a registry that refuses that is named in the answer.
//
// Each statement is about one digest, also those of an index and its children: one that named several would still cover a
// digest after its own was revoked.
//
// Whoever may push to the repository writes what this package reads there. Numbers and sizes are bounded by package
// referrers, and only what the gate's own key verifies is read further.
package summary
