// Package attest signs what was authorised and stores it where Binary
// Authorization looks, once.
//
// It decides whether an attestation is valid: payload, digest and a signature
// by one of the attestor's present keys, checked by code that shares nothing
// with the code that signs. It leaves to others whether an image deserves one:
// a signature takes an [attestor.Authorization], and there is no other way.
//
// # Sharing
//
// [Attester.Attest] turns an authorization into targets, one for each image,
// attestor and note. The work on a target is a task with a goroutine and a
// deadline of its own. Requests that want the same target at the same time share
// one task: a deployment that asks for one image from twenty pipelines makes one
// signature. The steps of a task, each of which may end it:
//
//	prepare   read the attestor's keys and what is stored; sign, and verify the signature
//	signed    wait until every task of the request that started this one is signed
//	recorded  wait until that request's decision is recorded
//	place     store the occurrence, read it back, verify it
//
// Three results connect them, each set once and waited for by any number:
// recorded belongs to a request, signed and stored to a task. The order gives
// these guarantees: a signing key that fails leaves nothing stored by the request;
// no attestation exists without a record of its decision; an index is stored
// after its children. A caller who leaves cancels nothing for the others, and
// what is stored later is found by the next request.
//
// # Placement
//
// The live service's rule for what is a duplicate is not documented: a second
// occurrence of the same note and resource may be stored, or refused with
// ALREADY_EXISTS. Lists show what was stored only after some seconds; reads by
// name do not lag. Placement therefore goes from the mildest way to the harshest:
//
//  1. an occurrence with all signatures that are asked for, by the signer's key, is reused;
//  2. one of the same resource takes the new signatures by an update;
//  3. a new occurrence is created;
//  4. one in which no key of the attestor verifies anything is deleted, and the
//     attestation is created in its place.
//
// An occurrence that admits the image is never deleted to make room. An answer
// that was lost is followed up by listing until the list can no longer hide the
// write. Whatever the service answers counts only once it was verified.
//
// # Intents
//
// Between deleting and creating, a crash would leave the image without an
// attestation that a decision promised. An intent is therefore durable in the
// [Journal] before the deletion. It holds the signed occurrence, so that
// [Attester.Recover] completes it without a signature, and only if the
// attestor's present keys verify it. [Attester.Revoke] drops the intents of an
// image first, so that nothing brings back what it deletes.
package attest
