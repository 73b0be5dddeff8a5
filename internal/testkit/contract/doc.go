// Package contract holds the suites that every implementation of an interface
// passes, real or fake.
package contract
