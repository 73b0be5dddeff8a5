package admission

import (
	"errors"

	"github.com/go-json-experiment/json"
)

// Sees lists the images that this package finds in a review, or why it refuses
// to look.
func Sees(body []byte) ([]string, error) {
	var in review
	if err := json.Unmarshal(body, &in); err != nil || in.Request == nil {
		return nil, errors.Join(errUnknownKind, err)
	}

	spec, err := podSpecOf(in.Request.Kind, in.Request.Object)
	if err != nil {
		return nil, err
	}

	return spec.images(), nil
}

// Whole completes a short name.
func Whole(short string) string { return whole(short) }

// Bounds of what is done at the same time.
const (
	LargeReviews = largeReviews
	ImagesAtOnce = imagesAtOnce
)
