// Package emulator is Container Analysis, Cloud KMS for asymmetric signing keys and
// Binary Authorization on one machine. The official clients reach it over gRPC, and
// gcloud over REST, on one port or on none.
//
// It decides nothing about images. It keeps what it is given, answers as the
// services answer, checks what they check, and fails on request, so that programs
// can be tested against a counterpart with rules of its own. Where the live services
// are not fully documented, [Behaviour] chooses, and its zero value is the strictest.
//
// It is no security boundary: nobody is authenticated, and private keys are kept in
// memory or, with a state directory, in a file.
package emulator
