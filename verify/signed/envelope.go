package signed

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// An opened is a DSSE envelope, by itself or in a bundle, whose payload was decoded in
// place: a document of 32 MiB is held once.
type opened struct {
	payloadType string
	payload     []byte // a part of the bytes that were opened
	signatures  [][]byte
}

// errEnvelope marks bytes that are no envelope.
var errEnvelope = errors.New("not a DSSE envelope")

// open decodes the envelope in raw, which it overwrites. For a bundle, bundled is true.
func open(raw []byte, bundled bool) (opened, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw))
	if !bundled {
		o, err := openEnvelope(dec)
		if err == nil {
			err = atEnd(dec)
		}
		return o, err
	}

	// A name that occurs twice is an error of the decoder: another reader could take the
	// other value.
	var o opened
	found := false
	err := eachName(dec, func(name string) (err error) {
		if name != "dsseEnvelope" {
			return dec.SkipValue()
		}
		found = true
		o, err = openEnvelope(dec)
		return err
	})
	if err == nil {
		err = atEnd(dec)
	}
	if err == nil && !found {
		err = errEnvelope
	}
	return o, err
}

// atEnd returns an error if anything follows the value.
func atEnd(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errEnvelope
	}
	return nil
}

// eachName calls f with each name of the object that comes next. f has to read the value.
func eachName(dec *jsontext.Decoder, f func(name string) error) error {
	if dec.PeekKind() != '{' {
		return errEnvelope
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}

	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if err := f(name.String()); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// openEnvelope reads the envelope that comes next.
func openEnvelope(dec *jsontext.Decoder) (o opened, err error) {
	err = eachName(dec, func(name string) error {
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		switch name {
		case "payloadType":
			return json.Unmarshal(value, &o.payloadType)
		case "payload":
			o.payload, err = decodeInPlace(value)
			return err
		case "signatures":
			var list []struct {
				Sig []byte `json:"sig"`
			}
			if err := json.Unmarshal(value, &list); err != nil {
				return err
			}
			for _, s := range list {
				o.signatures = append(o.signatures, s.Sig)
			}
		}
		return nil
	})
	// An envelope without a payload says nothing, whatever its signatures are of.
	if err == nil && len(o.payload) == 0 {
		err = errEnvelope
	}

	return o, err
}

// decodeInPlace decodes a JSON string of base64 over its own bytes.
func decodeInPlace(value jsontext.Value) ([]byte, error) {
	if value.Kind() != '"' {
		return nil, errEnvelope
	}
	text := []byte(value[1 : len(value)-1])
	if bytes.IndexByte(text, '\\') >= 0 {
		var err error
		if text, err = jsontext.AppendUnquote(nil, value); err != nil {
			return nil, err
		}
	}

	// DSSE protocol: "Either standard or URL-safe encoding is allowed."
	encoding := base64.StdEncoding
	if bytes.ContainsAny(text, "-_") {
		encoding = base64.URLEncoding
	}

	// The decoder reads ahead of what it has returned, and four bytes become three: what is
	// written was read before.
	r := base64.NewDecoder(encoding, bytes.NewReader(text))
	n := 0
	for {
		read, err := r.Read(text[n:])
		n += read
		if errors.Is(err, io.EOF) {
			return text[:n], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// message reads what the signature of an envelope is made over. DSSE protocol: "PAE(type,
// body) = "DSSEv1" + SP + LEN(type) + SP + type + SP + LEN(body) + SP + body".
func (o *opened) message() io.Reader {
	head := "DSSEv1 " + strconv.Itoa(len(o.payloadType)) + " " + o.payloadType + " " +
		strconv.Itoa(len(o.payload)) + " "
	return io.MultiReader(bytes.NewReader([]byte(head)), bytes.NewReader(o.payload))
}
