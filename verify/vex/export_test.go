package vex

// Document reads a document by itself, without a signature.
var Document = document //nolint:gochecknoglobals // for tests
