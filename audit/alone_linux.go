package audit

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Linux's locks of open file descriptions, which package syscall has no names
// for. fcntl(2): they are "only automatically released on the last close of the
// open file description, instead of being released on any close of the file".
// The kernel closes it with the process, however that ends.
const (
	ofdGetLock = 36
	ofdSetLock = 37
)

// A usersLock is a shared lock, held by every process that has the store open.
type usersLock struct{ f *os.File }

// lockShared takes the lock. It does not wait for other processes, which hold it
// shared too.
func lockShared(path string) (*usersLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}

	shared := syscall.Flock_t{Type: syscall.F_RDLCK, Len: 1}
	if err := syscall.FcntlFlock(f.Fd(), ofdSetLock, &shared); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return &usersLock{f: f}, nil
}

// alone reports whether no other process holds the lock. fcntl(2), F_OFD_GETLK:
// if the lock "could be placed", the kernel "does not actually place it" and
// returns F_UNLCK; so the question changes nothing for the others.
func (l *usersLock) alone() bool {
	exclusive := syscall.Flock_t{Type: syscall.F_WRLCK, Len: 1}
	raw, err := l.f.SyscallConn()
	if err != nil {
		return false
	}

	// The file stays open while it is asked about: recovery may go on while the store is closed.
	var asked error
	err = raw.Control(func(fd uintptr) { asked = syscall.FcntlFlock(fd, ofdGetLock, &exclusive) })

	// An error counts as "not alone": recovery then leaves decisions that another process may be working on.
	return err == nil && asked == nil && exclusive.Type == syscall.F_UNLCK
}

func (l *usersLock) close() error { return l.f.Close() }
