// Package audit decides what is remembered of the gate's decisions, and how it
// is told: the durable record, one decision explained in sentences, and sweeps
// over many images. Its subpackages turn lists of decisions into reports and
// pages. What is decided is left to the gate; who may read it, to the server.
package audit
