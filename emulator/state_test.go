package emulator_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"github.com/google/go-cmp/cmp"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/attestor-gate/attestor/emulator"
)

func TestStateSurvivesARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	e, err := emulator.New(emulator.Options{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}

	g := connect(t, e)
	g.createNote(t, note)
	g.createKey(t)
	g.createAttestor(t)
	payload := payloadFor("us-docker.pkg.dev/p/r/app", digestA)
	sig := g.sign(t, payload)
	o, err := g.Grafeas.CreateOccurrence(ctxFor(t), &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p",
		Occurrence: attestation(note, imageA, payload, sig)})
	if err != nil {
		t.Fatal(err)
	}

	g.fill(t, "projects/q", 30)
	gone := g.list(t, "projects/q", "")[7]
	if err := g.Grafeas.DeleteOccurrence(ctxFor(t), &grafeaspb.DeleteOccurrenceRequest{Name: gone.GetName()}); err != nil {
		t.Fatal(err)
	}

	want := g.list(t, "projects/q", "")
	if _, err := emulator.New(emulator.Options{StateDir: dir}); err == nil {
		t.Error("two emulators share a state directory")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	for _, path := range []string{dir, filepath.Join(dir, "emulator.db")} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s holds private keys and has mode %v, %v", path, st.Mode(), err)
		}
	}

	g = newGoogle(t, emulator.Options{StateDir: dir})
	if diff := cmp.Diff(want, g.list(t, "projects/q", ""), protocmp.Transform()); diff != "" {
		t.Errorf("occurrences and their order: -before +after\n%s", diff)
	}

	v, err := g.Validate.ValidateAttestationOccurrence(ctxFor(t), &binaryauthorizationpb.ValidateAttestationOccurrenceRequest{
		Attestor: attestor, OccurrenceNote: note, OccurrenceResourceUri: imageA,
		Attestation: attestation(note, imageA, payload, g.sign(t, payload)).GetAttestation(),
	})

	if err != nil || v.GetResult() != binaryauthorizationpb.ValidateAttestationOccurrenceResponse_VERIFIED {
		t.Errorf("the key or the attestor is another: %v, %v", v, err)
	}

	err = g.attest(ctxFor(t), imageA)
	wantCode(t, err, codes.AlreadyExists)
	if id := o.GetName()[strings.LastIndex(o.GetName(), "/")+1:]; !strings.Contains(err.Error(), id) {
		t.Errorf("%v does not name %s", err, id)
	}
}

func TestReset(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		reset bool
		want  int
	}{{false, 5}, {false, 10}, {true, 5}} {
		e, err := emulator.New(emulator.Options{StateDir: dir, Reset: tt.reset})
		if err != nil {
			t.Fatal(err)
		}

		g := connect(t, e)
		g.fill(t, "projects/p", 5)
		if got := len(g.list(t, "projects/p", "")); got != tt.want {
			t.Errorf("reset %v: %d occurrences, want %d", tt.reset, got, tt.want)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStateSurvivesACrash copies the files of a running emulator, as a crash
// would leave them, with the end of the log torn off in places.
func TestStateSurvivesACrash(t *testing.T) {
	dir := t.TempDir()
	g := newGoogle(t, emulator.Options{StateDir: dir})
	const batches, size = 8, 3

	for range batches {
		g.fill(t, "projects/p", size)
	}

	wal, err := os.ReadFile(filepath.Join(dir, "emulator.db-wal"))
	if err != nil || len(wal) == 0 {
		t.Fatalf("no log to tear: %d bytes, %v", len(wal), err)
	}

	db, err := os.ReadFile(filepath.Join(dir, "emulator.db"))
	if err != nil {
		t.Fatal(err)
	}

	last := -1
	for cut := 0; cut <= 10; cut++ {
		torn := t.TempDir()
		n := len(wal) * cut / 10
		write(t, filepath.Join(torn, "emulator.db"), string(db))
		write(t, filepath.Join(torn, "emulator.db-wal"), string(wal[:n]))
		crashed := newGoogle(t, emulator.Options{StateDir: torn})
		got := len(crashed.list(t, "projects/p", ""))
		if got%size != 0 || got < last {
			t.Errorf("log torn at %d of %d: %d occurrences, want whole batches of %d, and no fewer than before (%d)", n, len(wal), got, size, last)
		}

		last = got
	}

	if last != batches*size {
		t.Errorf("the whole log holds %d occurrences, want %d: what was answered was not on disk", last, batches*size)
	}
}

func TestStateThatIsNoState(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "emulator.db"), strings.Repeat("not a database ", 1000))
	if _, err := emulator.New(emulator.Options{StateDir: dir}); err == nil || !strings.Contains(err.Error(), "emulator.db") {
		t.Errorf("error %v, want one that names the file", err)
	}

	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if _, err := emulator.New(emulator.Options{StateDir: file}); err == nil {
		t.Error("a file is taken for a directory")
	}
	if _, err := emulator.New(emulator.Options{Behaviour: emulator.Behaviour{Uniqueness: 99}}); err == nil {
		t.Error("an unknown uniqueness is accepted")
	}
}

func TestOccurrenceLimit(t *testing.T) {
	g := newGoogle(t, emulator.Options{MaxOccurrences: 10})
	g.fill(t, "projects/p", 10)
	_, err := g.Grafeas.CreateOccurrence(ctxFor(t), &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p", Occurrence: vulnerability(imageA, "CVE-X")})
	wantCode(t, err, codes.ResourceExhausted)
	if err := g.Grafeas.DeleteOccurrence(ctxFor(t), &grafeaspb.DeleteOccurrenceRequest{Name: g.list(t, "projects/p", "")[3].GetName()}); err != nil {
		t.Fatal(err)
	}

	g.fill(t, "projects/p", 1)
}

// TestDeletedLeaveTheIndexes deletes most of a list, in an order that passes
// through every state of its tombstones.
func TestDeletedLeaveTheIndexes(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.fill(t, "projects/p", 60)
	all := g.list(t, "projects/p", "")

	for i := range all {
		o := all[(i*7)%60]
		if err := g.Grafeas.DeleteOccurrence(ctxFor(t), &grafeaspb.DeleteOccurrenceRequest{Name: o.GetName()}); err != nil {
			t.Fatal(err)
		}
		for _, filter := range []string{"", fmt.Sprintf("resourceUrl=%q", "https://"+imageA), fmt.Sprintf("has_suffix(resourceUrl, %q)", digestA)} {
			if got := len(g.list(t, "projects/p", filter)); got != 59-i {
				t.Fatalf("after %d deletions %q lists %d", i+1, filter, got)
			}
		}
	}
}
