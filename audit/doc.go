// Package audit keeps the gate's decisions and reads them back: the durable
// store, the explanation of one decision in sentences, and sweeps over many
// images. Package audit/pages renders decisions as HTML. The gate decides; the
// server says who may read a decision.
//
// # Durability
//
// A decision that leads to a signature is written twice. [Store.Begin] makes it
// durable before the first attestation is stored, and [Store.Finish] replaces it
// by the answer. After a crash, [Store.Pending] lists what was begun and not
// finished, so that every attestation has a decision that explains it. A method
// that writes returns nil only after the commit was synced to disk.
//
// # Content
//
// Evidence and policy texts are stored once by their hash, compressed, since the
// same ones come with most decisions. Each is checked by that hash when it is
// read: content that was changed or lost is an error and never an empty scan.
package audit
