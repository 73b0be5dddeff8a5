package packed_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/attestor-gate/attestor/internal/packed"
)

func codec(t *testing.T, most uint64) *packed.Codec {
	t.Helper()
	c, err := packed.New(most)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const text = `{"id":"0199","verdict":"deny","image":{"mediaType":"application/vnd.oci.image.manifest.v1+json"}}`

func TestCodec(t *testing.T) {
	t.Parallel()
	c := codec(t, 1<<20)

	one := c.Bytes(nil, []byte(text))
	if got, err := c.Unpack(one); err != nil || string(got) != text {
		t.Errorf("%q, %v", got, err)
	}
	if len(one) > len(text)*2/3 {
		t.Errorf("%d bytes take %d: the dictionary is of no use", len(text), len(one))
	}
	if got, err := c.Unpack(c.Bytes(one, []byte("more"))); err != nil || string(got) != text+"more" {
		t.Errorf("two that follow each other: %q, %v", got, err)
	}

	for _, second := range []string{"", "{}", "a\nb"} {
		first, got, err := c.UnpackTwo(c.Two(text, second))
		if err != nil || first != text || got != second {
			t.Errorf("%q, %q, %v; want %q", first, got, err, second)
		}
	}
	if first, second, err := c.UnpackTwo(one); err == nil {
		t.Errorf("one text is %q and %q", first, second)
	}
	if got, err := c.Unpack([]byte("no frame")); err == nil {
		t.Errorf("nonsense unpacks to %q", got)
	}
}

// first is text, as the first version wrote it.
const first = "28b52ffd06000180b50000187b7d7d050065d92393cb013fa1838640183e244320f43cb313"

// firstSum is the hash of the first dictionary.
const firstSum = "d518ce6678ff24023fa267c24cdd03df2d83a4bd73cff24f3c42a83e5f251cfd"

// What was stored is read for ever. These bytes were written with the first dictionary, and need it. Most of what
// is stored refers to other places in it: none of its bytes may change.
func TestWhatWasStoredIsRead(t *testing.T) {
	t.Parallel()
	stored, err := hex.DecodeString(first)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := codec(t, 1<<20).Unpack(stored); err != nil || string(got) != text {
		t.Errorf("%q, %v", got, err)
	}

	dictionary, err := os.ReadFile("1.txt")
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(dictionary); hex.EncodeToString(sum[:]) != firstSum {
		t.Errorf("the first dictionary was changed: its hash is %x", sum)
	}

	// And so is what was compressed before there was a dictionary.
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := codec(t, 1<<20).Unpack(enc.EncodeAll([]byte(text), nil)); err != nil || string(got) != text {
		t.Errorf("without a dictionary: %q, %v", got, err)
	}
}

func TestUnpackIsBounded(t *testing.T) {
	t.Parallel()
	large := codec(t, 1<<20).Bytes(nil, bytes.Repeat([]byte("a"), 1<<20))
	if got, err := codec(t, 1<<16).Unpack(large); err == nil {
		t.Errorf("%d bytes came of %d; at most 65,536 may", len(got), len(large))
	}
}
