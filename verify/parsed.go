package verify

import (
	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
)

// parsedBytes bounds the manifests, and the configs, whose parsed form is kept,
// by the bytes that they were parsed from: a parsed one takes some three times
// as much.
const parsedBytes = 1 << 20

// parsed keeps what manifests and configs say. A decision looks at each several
// times, and many images share theirs. What does not parse is not kept. All of
// it is read by many at once, and changed by nobody.
type parsed struct {
	documents *lru.Cache[documentKey, typedDocument]
	configs   *lru.Cache[attestor.Digest, imageConfig]
	turns     chan struct{} // has an element for each large document that is being parsed
}

// Documents from largeDocument bytes on are parsed in turn, largeAtOnce at a time: one of 4 MB takes 20 MB meanwhile, and
// processors are what parsing waits for in any case.
const (
	largeDocument = 256 << 10
	largeAtOnce   = 4
)

// documentKey is all that parseDocument depends on: the digest is that of the
// bytes.
type documentKey struct {
	digest    attestor.Digest
	mediaType string
}

type typedDocument struct {
	document
	mediaType string
}

func newParsed() parsed {
	return parsed{
		documents: lru.New[documentKey, typedDocument](parsedBytes),
		configs:   lru.New[attestor.Digest, imageConfig](parsedBytes),
		turns:     make(chan struct{}, largeAtOnce),
	}
}

// document is parseDocument.
func (p parsed) document(c content) (document, string, error) {
	key := documentKey{c.digest, c.mediaType}
	if t, ok := p.documents.Get(key); ok {
		return t.document, t.mediaType, nil
	}
	if len(c.bytes) >= largeDocument {
		p.turns <- struct{}{}
		defer func() { <-p.turns }()
	}
	d, mt, err := parseDocument(c)
	if err == nil {
		p.documents.Put(key, typedDocument{d, mt}, int64(len(c.bytes))+lru.Entry)
	}
	return d, mt, err
}

// config is parseConfig: what depends on the manifest is checked each time.
func (p parsed) config(c content, d document) (imageConfig, *attestor.Error) {
	if config, ok := p.configs.Get(c.digest); ok {
		return config, config.fits(d)
	}
	config, err := decodeConfig(c.bytes)
	if err != nil {
		return imageConfig{}, err
	}
	p.configs.Put(c.digest, config, int64(len(c.bytes))+lru.Entry)
	return config, config.fits(d)
}
