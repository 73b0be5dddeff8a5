// Package translog keeps a transparency log in a few tables of a database that holds
// other things too, so that a record and its entry are committed together or not at
// all. It knows nothing of what is logged.
//
// # The tree
//
// The log is the Merkle tree of RFC 6962 over entries in the order in which they were
// appended. A row of log_leaves has an entry, its hash, and the hash of each subtree
// that it completes; log_head has the size of the tree and the hashes of its complete
// subtrees, so that an append reads one row. [golang.org/x/mod/sumdb/tlog] computes
// roots and proofs from these rows.
//
// # Formats
//
// What leaves the database has the formats of c2sp.org: a checkpoint is a signed note
// (c2sp.org/tlog-checkpoint) by an Ed25519 key, tiles are those of c2sp.org/tlog-tiles,
// and a proof is a c2sp.org/tlog-proof. Other programs read all three.
//
// # What an entry says
//
// An entry names a record and holds commitments to its parts: keyed hashes, whose key
// (the salt) is kept beside the entry and is not part of it. When a record's time is
// over, its content and its salt are deleted. The entry remains, so that the tree stays
// whole, and it does not show what the content was.
//
// A row has the entry in a short form, without what the columns beside it say. Entries are
// always hashed, proven and served as they are: see [EntryOf].
package translog
