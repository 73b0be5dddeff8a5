package sbom_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/verify/sbom"
	"github.com/attestor-gate/attestor/verify/signed"
)

// A shelf is a registry with an image, to which documents are attached.
type shelf struct {
	t      *testing.T
	place  *corpus.Place
	image  attestor.Image
	size   int
	serves func(http.Handler, http.ResponseWriter, *http.Request) // nil: as the registry does
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{t: t}
	h := registries.Memory(true)
	host := registries.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.serves != nil {
			s.serves(h, w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))

	s.place = &corpus.Place{Name: "sbom", Host: host, Repo: "acme/app", Scans: nil, Files: map[string][]byte{}}
	i := s.place.Good()
	m, _ := i.Bytes()
	s.size = len(m)
	s.place.PushTo(s.place.Repo, "1", i)
	ref, err := attestor.ParseReference(s.place.Host + "/" + s.place.Repo + "@" + string(i.Digest()))
	if err != nil {
		t.Fatal(err)
	}
	s.image, _ = ref.Pinned()
	return s
}

// refer pushes a referrer with one layer.
func (s *shelf) refer(media string, blob []byte) attestor.Digest {
	config := []byte("{}")
	s.place.Blobs = append(s.place.Blobs, corpus.Blob{Repo: s.place.Repo, Bytes: config}, corpus.Blob{Repo: s.place.Repo, Bytes: blob})
	m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s],"subject":%s}`, corpus.OCIManifest,
		corpus.Desc("application/vnd.oci.empty.v1+json", config, ""), corpus.Desc(media, blob, ""),
		corpus.DescOf(corpus.OCIManifest, s.image.Digest(), s.size, ""))
	s.place.Manifests = append(s.place.Manifests, corpus.Manifest{Repo: s.place.Repo, MediaType: corpus.OCIManifest, Bytes: m})
	return corpus.Sum(blob)
}

func (s *shelf) load() {
	s.t.Helper()
	if err := s.place.Load(s.t.Context(), http.DefaultClient); err != nil {
		s.t.Fatal(err)
	}
}

func newSource(t *testing.T, root string) *sbom.Source {
	t.Helper()
	c, err := signed.New(signed.Config{
		TrustedRoot: root, Name: func(string) []name.Option { return []name.Option{name.Insecure} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return sbom.New(func() *signed.Checker { return c }, nil)
}

func keyFile(t *testing.T, k corpus.Key) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(path, k.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// By an identity, a document counts if certificate and log say so, and not by another identity.
func TestKeylessDocuments(t *testing.T) {
	sig := corpus.NewSigstore()
	s := newShelf(t)
	statement := corpus.Stated(s.image.Digest(), corpus.SPDXPredicate, corpus.SPDX("MIT", "pkg:deb/debian/openssl@3"))
	s.refer(corpus.BundleMedia, sig.Bundle(statement, true))
	s.load()
	root := filepath.Join(t.TempDir(), "root.json")
	if err := os.WriteFile(root, sig.Root(false), 0o600); err != nil {
		t.Fatal(err)
	}

	for subject, counts := range map[string]bool{corpus.SignerSubject: true, corpus.SignerSubject + ".evil": false} {
		rule := attestor.SignedBy{Issuer: corpus.SignerIssuer, Subject: subject}
		docs, notRead, problems := newSource(t, root).SBOMs(t.Context(), sbom.Subject{Image: s.image}, attestor.SBOMNeeds{SignedBy: &rule})
		if len(docs) != 1 || len(docs[0].Packages) != 1 || len(notRead)+len(problems) > 0 {
			t.Fatalf("%s: %+v, %+v, %+v", subject, docs, notRead, problems)
		}
		if (docs[0].SignedBy == rule.Text()) != counts || (docs[0].Signer != "") != counts {
			t.Errorf("%s: signed by %q, %q", subject, docs[0].SignedBy, docs[0].Signer)
		}
	}
}

// TestKeylessDocumentsThatAreTooLarge: where a certificate signs, a document is read up to a bundle of 8 MiB. Beyond
// that the answer is a coded error, and neither a pass nor the denial of an image that has no document.
func TestKeylessDocumentsThatAreTooLarge(t *testing.T) {
	sig := corpus.NewSigstore()
	root := filepath.Join(t.TempDir(), "root.json")
	if err := os.WriteFile(root, sig.Root(false), 0o600); err != nil {
		t.Fatal(err)
	}
	rule := attestor.SignedBy{Issuer: corpus.SignerIssuer, Subject: corpus.SignerSubject}

	// In a bundle the statement is base64, four thirds of its size.
	const limit = 8 << 20
	for filler, fits := range map[int]bool{limit*3/4 - 64<<10: true, limit * 3 / 4: false} {
		s := newShelf(t)
		doc := fmt.Appendf(nil, `{"spdxVersion":"SPDX-2.3","comment":%q,"packages":[{"name":"a","versionInfo":"1"}]}`, strings.Repeat("x", filler))
		s.refer(corpus.BundleMedia, sig.Bundle(corpus.Stated(s.image.Digest(), corpus.SPDXPredicate, doc), true))
		s.load()

		docs, notRead, problems := newSource(t, root).SBOMs(t.Context(), sbom.Subject{Image: s.image}, attestor.SBOMNeeds{SignedBy: &rule})
		switch {
		case fits && (len(docs) != 1 || docs[0].SignedBy != rule.Text() || len(notRead)+len(problems) > 0):
			t.Errorf("%d bytes: %d documents, %+v, %+v", filler, len(docs), notRead, problems)
		case !fits && (len(docs) != 0 || len(problems) != 1 || problems[0].Status != attestor.StatusError ||
			problems[0].Code != attestor.CodeSBOMTooLarge || !strings.Contains(problems[0].Message, "8388608")):
			t.Errorf("%d bytes: %d documents, %+v, %+v", filler, len(docs), notRead, problems)
		}
	}
}

// One byte of the payload, or another payload type, voids a signature by key.
func TestEditedEnvelopes(t *testing.T) {
	key := corpus.NewKey()
	s := newShelf(t)
	envelope := string(key.Bundle(corpus.Stated(s.image.Digest(), corpus.SPDXPredicate, corpus.SPDX("MIT", "pkg:deb/debian/openssl@3"))))
	other := string(key.Bundle(corpus.Stated(s.image.Digest(), corpus.SPDXPredicate, corpus.SPDX("MIT", "pkg:deb/debian/openssl@4"))))
	payload := func(bundle string) string {
		_, rest, _ := strings.Cut(bundle, `"payload":`)
		rest = strings.TrimPrefix(strings.TrimSpace(rest), `"`)
		text, _, _ := strings.Cut(rest, `"`)
		return text
	}
	s.refer(corpus.BundleMedia, []byte(strings.Replace(envelope, payload(envelope), payload(other), 1)))
	s.load()

	rule := attestor.SignedBy{Key: keyFile(t, key)}
	docs, _, problems := newSource(t, "").SBOMs(t.Context(), sbom.Subject{Image: s.image}, attestor.SBOMNeeds{SignedBy: &rule})
	if len(docs) != 1 || docs[0].SignedBy != "" || len(problems) > 0 {
		t.Fatalf("%+v, %+v", docs, problems)
	}
}

// large is a statement of nearly 32 MiB with 100,000 packages.
func large(d attestor.Digest) []byte {
	var b bytes.Buffer
	b.WriteString(`{"spdxVersion":"SPDX-2.3","packages":[`)
	filler := strings.Repeat("x", 155)
	for i := range sbom.MaxPackages {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name":"p%d","versionInfo":"1.%d","licenseDeclared":"MIT","description":%q,`+
			`"externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/p%d@1.%d"}]}`,
			i, i, filler, i, i)
	}
	b.WriteString("]}")
	return corpus.Stated(d, corpus.SPDXPredicate, b.Bytes())
}

// childImage, in the environment, makes the test of memory read an image's documents and print what that took.
const childImage = "SBOM_TEST_IMAGE"

// The largest document takes less than 200 MB above idle, and of several at once one is held at a time.
func TestLargeDocuments(t *testing.T) {
	if ref := os.Getenv(childImage); ref != "" {
		readLarge(t, ref)
		return
	}
	if testing.Short() {
		t.Skip("reads three documents of 32 MiB")
	}

	key := corpus.NewKey()
	s := newShelf(t)
	statement := large(s.image.Digest())
	if len(statement) > sbom.MaxBytes || len(statement) < sbom.MaxBytes*9/10 {
		t.Fatalf("the statement has %d bytes", len(statement))
	}
	blob := s.refer(corpus.BundleMedia, key.Bundle(statement))
	s.load()
	var now, most atomic.Int64
	s.serves = func(h http.Handler, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, string(blob)) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
		}
		h.ServeHTTP(w, r)
	}

	for _, n := range []int{1, 3} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLargeDocuments$", "-test.v")
		cmd.Env = append(os.Environ(), childImage+"="+s.image.String(), "SBOM_TEST_KEY="+keyFile(t, key), "SBOM_TEST_READERS="+strconv.Itoa(n))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, after, _ := strings.Cut(string(out), "above idle: ")
		text, _, _ := strings.Cut(after, " ")
		took, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%d at once: %d MB above idle", n, took>>20)
		if n == 1 && !underRace && took > 200_000_000 {
			t.Errorf("one document took %d bytes above idle", took)
		}
	}
	if most.Load() != 1 {
		t.Errorf("%d documents were held at one time", most.Load())
	}
}

// readLarge is the child process.
func readLarge(t *testing.T, text string) {
	ref, err := attestor.ParseReference(text)
	if err != nil {
		t.Fatal(err)
	}
	img, _ := ref.Pinned()
	readers, err := strconv.Atoi(os.Getenv("SBOM_TEST_READERS"))
	if err != nil {
		t.Fatal(err)
	}
	source, rule := newSource(t, ""), attestor.SignedBy{Key: os.Getenv("SBOM_TEST_KEY")}
	idle := resident(t, "VmRSS:")

	var wg sync.WaitGroup
	var read atomic.Int64
	for range readers {
		wg.Go(func() {
			docs, notRead, problems := source.SBOMs(t.Context(), sbom.Subject{Image: img}, attestor.SBOMNeeds{SignedBy: &rule})

			// On a busy machine the last in the queue may have waited for longer than a look-up may take.
			if readers > 1 && len(docs) == 0 && len(problems) == 1 && problems[0].Code == attestor.CodeSBOMUnavailable &&
				strings.Contains(problems[0].Message, "in the time allowed") {
				return
			}
			read.Add(1)
			if len(docs) != 1 || len(docs[0].Packages) != sbom.MaxPackages || docs[0].SignedBy == "" {
				t.Errorf("%d documents, %+v, %+v", len(docs), notRead, problems)
			}
		})
	}
	wg.Wait()
	if read.Load() == 0 {
		t.Error("nobody had the document in time")
	}
	fmt.Printf("above idle: %d \n", resident(t, "VmHWM:")-idle)
}

// resident is a line of the process's status, in bytes.
func resident(t *testing.T, line string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc")
	}
	_, after, _ := strings.Cut(string(b), line)
	text, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	kb, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
