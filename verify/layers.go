package verify

type layerReader struct {
	fetch  *fetcher
	limits Limits
}

func newLayerReader(f *fetcher, l Limits) *layerReader { return &layerReader{f, l} }
