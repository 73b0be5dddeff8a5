package filestat

import (
	"errors"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// same compares a place with what is there now, and remembers that. It is false where something cannot be looked at.
// quiet says that nothing has changed lately.
func (p *place) same(keep func(name string) bool, quiet bool) bool {
	var st unix.Stat_t
	if err := unix.Stat(p.path, &st); err != nil {
		return false
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		before := p.self
		p.self, p.names, p.files = stampOf(&st), nil, nil
		return p.self == before
	}

	dir, err := os.Open(p.path)
	if err != nil {
		return false
	}
	defer func() { _ = dir.Close() }() // it was only read
	fd := int(dir.Fd())
	if err := unix.Fstat(fd, &st); err != nil {
		return false
	}

	before := p.self
	p.self = stampOf(&st)
	same := p.self == before

	// A directory whose time is as it was has the same names, where the file system keeps that time.
	if !same || !quiet || !keepsTimes(fd) {
		names, err := dir.Readdirnames(-1)
		if err != nil {
			return false
		}
		names = slices.DeleteFunc(names, func(name string) bool { return !keep(name) })
		if !slices.Equal(names, p.names) {
			same, p.names, p.files = false, names, make([]stamp, len(names))
		}
	}

	// Relative to the directory, which costs less than whole paths, and links are followed: what counts is the file that
	// would be read.
	for i, name := range p.names {
		var now stamp
		switch err := unix.Fstatat(fd, name, &st, 0); {
		case err == nil:
			now = stampOf(&st)
		case !errors.Is(err, syscall.ENOENT):
			return false
		}
		if now != p.files[i] {
			same, p.files[i] = false, now
		}
	}
	return same
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{
		device: st.Dev, inode: st.Ino, size: st.Size, written: st.Mtim.Nano(), changed: st.Ctim.Nano(),
	}
}

// keepsTimes reports whether a directory is in a file system that changes the time of a directory with its names. Buckets
// and shares of other machines that are mounted do not all; there the names are read each time.
func keepsTimes(fd int) bool {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return false
	}
	switch int64(fs.Type) { //nolint:unconvert // the type differs by processor
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC,
		unix.OVERLAYFS_SUPER_MAGIC:
		return true
	}
	return false
}
