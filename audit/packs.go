package audit

// What is kept of packed blobs: small ones, of which the same come with every
// decision, or with the beginning and the end of one.
const (
	maxPack  = 64 << 10 // bytes of one blob, unpacked
	maxPacks = 4 << 20  // bytes of all that is kept, packed
)

// pack returns b.data packed; the result must not be changed.
func (s *Store) pack(b blob) []byte {
	if len(b.data) > maxPack {
		return s.enc.EncodeAll(b.data, nil)
	}
	if packed, ok := s.packs.Get(b.hash); ok {
		return packed
	}

	packed := s.enc.EncodeAll(b.data, nil)
	s.packs.Put(b.hash, packed, int64(len(packed)+len(b.hash)))
	return packed
}
