package main

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/attestor-gate/attestor"
)

// Primary result codes of SQLite, as its documentation numbers them.
const (
	sqliteBusy     = 5
	sqliteLocked   = 6
	sqliteReadOnly = 8
	sqliteFull     = 13
	sqliteCantOpen = 14
)

// A sqliteError is an error of the driver, which has SQLite's result code.
type sqliteError interface {
	error
	Code() int
}

// stateProblem says in one sentence what is wrong with the state directory, where an error is about that. Others stay
// as they are, as does every error without a directory.
func stateProblem(dir string, err error) error {
	if err == nil || dir == "" {
		return err
	}

	// The driver's own codes say why a file cannot be used; the system's errors are about the folder.
	code := 0
	if e, ok := errors.AsType[sqliteError](err); ok {
		code = e.Code() & 0xff // the low byte is the primary result code
	}

	problem := func(msg, fix string) error {
		return &attestor.Error{Kind: attestor.Invalid, Msg: "the state directory " + dir + " " + msg, Fix: fix}
	}
	switch {
	case code == sqliteBusy, code == sqliteLocked:
		return problem("is in use by another attestor dev or emulator",
			"stop that one, or name another directory by --state")
	case code == sqliteFull, errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return problem("is on a disk that is full", "free space there, or name a directory on another disk by --state")
	case code == sqliteReadOnly, code == sqliteCantOpen,
		errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		return problem("cannot be written", "make it writable for this user, or name another directory by --state")
	case errors.Is(err, syscall.ENOTDIR):
		return problem("is not a directory", "name a directory by --state")
	}
	return err
}
