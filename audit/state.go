package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/attestor-gate/attestor"
)

// A stateFile has a line for each result of a sweep. A sweep that was interrupted,
// by a kill or a crash too, continues after the last whole line.
type stateFile struct {
	f      *os.File
	closed bool
}

// stateHeader is the first line.
type stateHeader struct {
	Sweep int    `json:"attestorSweep"` // version of the format
	Key   string `json:"key"`
}

const stateVersion = 1

// openState opens the file, or creates it, and calls resume with each earlier
// result. It drops a truncated last line.
func openState(path, key string, resume func(Result) error) (*stateFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // decisions name images and callers
	if err != nil {
		return nil, &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "the sweep's state file cannot be opened",
			Fix:  "use a path in a directory that is writable",
			Err:  err,
		}
	}

	// A new file gets the header. In one that exists, the next result overwrites
	// the truncated line.
	s := &stateFile{f: f}
	whole, err := s.load(key, resume)
	if err == nil && whole == 0 {
		err = s.write(stateHeader{Sweep: stateVersion, Key: key})
	} else if err == nil {
		if err = f.Truncate(whole); err == nil {
			_, err = f.Seek(whole, io.SeekStart)
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// load reads the file and returns the offset where the last whole line ends.
func (s *stateFile) load(key string, resume func(Result) error) (whole int64, err error) {
	r := bufio.NewReaderSize(s.f, 64<<10)
	for n := 0; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return whole, nil // the rest has no newline: its write was interrupted
		}
		if err != nil {
			return 0, fmt.Errorf("reading the sweep's state: %w", err)
		}

		if n == 0 {
			err = checkHeader(line, key)
		} else {
			var res Result
			if err = json.Unmarshal(line, &res); err == nil {
				err = resume(res)
			} else {
				err = damaged(err)
			}
		}
		if err != nil {
			return 0, err
		}
		whole += int64(len(line))
	}
}

func checkHeader(line []byte, key string) error {
	var h stateHeader
	if err := json.Unmarshal(line, &h); err != nil || h.Sweep != stateVersion {
		return damaged(err)
	}

	// Results of other images, or of another policy, must not count as this sweep's.
	if h.Key != key {
		return &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "the state file belongs to another sweep, of other images or under another policy",
			Fix:  "use another file, or remove this one to start again",
		}
	}
	return nil
}

func damaged(err error) error {
	return &attestor.Error{
		Kind: attestor.Invalid,
		Msg:  "the state file is damaged, or was not written by a sweep",
		Fix:  "remove it to start again, or use another file",
		Err:  err,
	}
}

func (s *stateFile) add(r Result) error { return s.write(r) }

// write appends a line by one system call, so that a kill can truncate only the
// last line.
func (s *stateFile) write(v any) error {
	line, err := json.Marshal(v)
	if err == nil {
		_, err = s.f.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing the sweep's state: %w", err)
	}
	return nil
}

func (s *stateFile) close() error {
	if s.closed {
		return nil
	}
	s.closed = true

	if err := errors.Join(s.f.Sync(), s.f.Close()); err != nil {
		return fmt.Errorf("closing the sweep's state: %w", err)
	}
	return nil
}
