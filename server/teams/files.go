package teams

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A stamp is what changes when a file does.
type stamp struct {
	size int64
	at   time.Time
	info os.FileInfo // to tell a file from one that took its place
}

func (s stamp) same(o stamp) bool {
	return s.info != nil && o.info != nil && s.size == o.size && s.at.Equal(o.at) && os.SameFile(s.info, o.info)
}

// list returns the names in a directory that are meant for teams. Hidden ones are those of editors and of Kubernetes'
// mounted ConfigMaps.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}

	var names []string
	for _, e := range entries {
		if !e.IsDir() && isTeamFile(e.Name()) {
			names = append(names, e.Name())
		}
	}
	if len(names) > maxFiles {
		return nil, fmt.Errorf("%d files, at most %d are allowed", len(names), maxFiles)
	}
	return names, nil
}

func isTeamFile(name string) bool {
	return !strings.HasPrefix(name, ".") && (strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml"))
}

// readIfChanged reads a team's file, or returns no text where its stamp is the one that was seen and it is not wanted
// anyhow.
func readIfChanged(dir, team string, seen stamp, anyhow bool) (text []byte, now stamp, err error) {
	path := filepath.Join(dir, team+".yaml")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		path = filepath.Join(dir, team+".yml")
		info, err = os.Stat(path)
	}
	if err != nil {
		return nil, stamp{}, err
	}

	now = stamp{size: info.Size(), at: info.ModTime(), info: info}
	if !anyhow && seen.same(now) {
		return nil, now, nil
	}
	text, err = readRegular(path)
	return text, now, err
}

// readRegular reads a file of bounded size. Opening a pipe must not wait for whoever writes to it.
func readRegular(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read

	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxText)
	}
	if text == nil {
		text = []byte{}
	}
	return text, nil
}
