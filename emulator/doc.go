// Package emulator is Container Analysis, Cloud KMS for asymmetric signing
// keys and Binary Authorization on one machine, spoken to by the official
// clients over gRPC and by gcloud over REST, on one port or on none.
//
// It decides nothing about images. It keeps what it is given, answers as the
// services answer, checks what they check, and fails on request, so that
// whoever builds on those services can test against a counterpart that has a
// mind of its own. Where the live services are not documented to the last,
// [Behaviour] chooses, and its zero value is the strictest.
//
// It is no security boundary: nobody is authenticated, and private keys lie in
// memory or, with a state directory, in a file.
package emulator
