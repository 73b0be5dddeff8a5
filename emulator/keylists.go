package emulator

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (s kmsService) ListKeyRings(
	ctx context.Context,
	r *kmspb.ListKeyRingsRequest,
) (*kmspb.ListKeyRingsResponse, error) {
	if err := s.require(ctx, "cloudkms.keyRings.list", r.GetParent()); err != nil {
		return nil, err
	}

	out, total, next, err := keyPage[kmspb.KeyRing](s, tableKeyRings, r)
	if err != nil {
		return nil, err
	}
	return &kmspb.ListKeyRingsResponse{KeyRings: out, NextPageToken: next, TotalSize: total}, nil
}

func (s kmsService) ListCryptoKeys(
	ctx context.Context,
	r *kmspb.ListCryptoKeysRequest,
) (*kmspb.ListCryptoKeysResponse, error) {
	if err := s.require(ctx, "cloudkms.cryptoKeys.list", r.GetParent()); err != nil {
		return nil, err
	}

	out, total, next, err := keyPage[kmspb.CryptoKey](s, tableKeys, r)
	if err != nil {
		return nil, err
	}
	return &kmspb.ListCryptoKeysResponse{CryptoKeys: out, NextPageToken: next, TotalSize: total}, nil
}

func (s kmsService) ListCryptoKeyVersions(
	ctx context.Context,
	r *kmspb.ListCryptoKeyVersionsRequest,
) (*kmspb.ListCryptoKeyVersionsResponse, error) {
	if err := s.require(ctx, "cloudkms.cryptoKeyVersions.list", r.GetParent()); err != nil {
		return nil, err
	}

	out, total, next, err := keyPage[kmspb.CryptoKeyVersion](s, tableVersions, r)
	if err != nil {
		return nil, err
	}
	return &kmspb.ListCryptoKeyVersionsResponse{CryptoKeyVersions: out, NextPageToken: next, TotalSize: total}, nil
}

// keyPage is a page of a list of Cloud KMS, filtered and ordered. "Sorting and filtering list results": "You can filter
// on any field in the objects being returned."
func keyPage[T any, P interface {
	*T
	proto.Message
}](s kmsService, table string, r interface {
	GetParent() string
	GetPageSize() int32
	GetPageToken() string
	GetFilter() string
	GetOrderBy() string
}) (out []*T, total int32, next string, err error) {
	md := P(nil).ProtoReflect().Descriptor()
	n, err := dialect{compile: compileFor(md), kms: true}.parse(r.GetFilter())
	if err != nil {
		return nil, 0, "", err
	}
	compare, err := parseOrder(md, r.GetOrderBy())
	if err != nil {
		return nil, 0, "", err
	}

	out, next, err = objectPage[T, P](s.store, table, objectQuery{
		parent: r.GetParent(), size: r.GetPageSize(), token: r.GetPageToken(),
		filter: r.GetFilter(), meaning: n, orderBy: r.GetOrderBy(), compare: compare,
	})

	// google.cloud.kms.v1, total_size: "This field is not populated if ListKeyRingsRequest.filter is applied."
	if err != nil || r.GetFilter() != "" {
		return out, 0, next, err
	}
	return out, s.store.count(table, r.GetParent()), next, nil
}

// count is how many live rows are under a parent.
func (s *store) count(table, parent string) int32 {
	s.mu.RLock()
	defer s.mu.RUnlock()

	n := int32(0)
	for _, r := range s.list(table, parent).after(0) {
		if !r.dead {
			n++
		}
	}
	return n
}

// parseOrder reads order_by as AIP-132 has it: "a comma separated list of fields", each of which "the API service
// should sort in descending order" where " desc" follows. "" is nil, the order of creation.
func parseOrder(md protoreflect.MessageDescriptor, text string) (func(a, b protoreflect.Message) int, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var keys []func(a, b protoreflect.Message) int
	for part := range strings.SplitSeq(text, ",") {
		words := strings.Fields(part)
		if len(words) == 0 || len(words) > 2 || len(words) == 2 && words[1] != "asc" && words[1] != "desc" {
			return nil, invalid("order_by", "invalid order_by: want FIELD [asc|desc], …, got "+part)
		}
		key, err := orderKey(md, words[0])
		if err != nil {
			return nil, err
		}

		if len(words) == 2 && words[1] == "desc" {
			ascending := key
			key = func(a, b protoreflect.Message) int { return ascending(b, a) }
		}
		keys = append(keys, key)
	}

	return func(a, b protoreflect.Message) int {
		for _, k := range keys {
			if c := k(a, b); c != 0 {
				return c
			}
		}
		return 0
	}, nil
}

// orderKey compares two messages by one field, given by its path. A field that is not set is before those that are.
func orderKey(md protoreflect.MessageDescriptor, path string) (func(a, b protoreflect.Message) int, error) {
	var fields []protoreflect.FieldDescriptor
	for part := range strings.SplitSeq(path, ".") {
		var fd protoreflect.FieldDescriptor
		if md != nil {
			if fd = md.Fields().ByJSONName(part); fd == nil {
				fd = md.Fields().ByName(protoreflect.Name(part))
			}
		}
		if fd == nil || fd.IsMap() || fd.IsList() {
			return nil, invalid("order_by", "invalid order_by: no field "+path+" to sort by")
		}
		fields, md = append(fields, fd), fd.Message()
	}

	last := fields[len(fields)-1]
	if md != nil && md.FullName() != "google.protobuf.Timestamp" {
		return nil, invalid("order_by", "invalid order_by: "+path+" has no order")
	}
	return func(a, b protoreflect.Message) int {
		for _, fd := range fields[:len(fields)-1] {
			a, b = a.Get(fd).Message(), b.Get(fd).Message()
		}
		return compareValues(last, a.Get(last), b.Get(last))
	}, nil
}

func compareValues(fd protoreflect.FieldDescriptor, a, b protoreflect.Value) int {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return strings.Compare(a.String(), b.String())
	case protoreflect.EnumKind:
		return cmp.Compare(a.Enum(), b.Enum())
	case protoreflect.MessageKind:
		x, _ := a.Message().Interface().(*timestamppb.Timestamp)
		y, _ := b.Message().Interface().(*timestamppb.Timestamp)
		return asTime(x).Compare(asTime(y))
	case protoreflect.BytesKind:
		return slices.Compare(a.Bytes(), b.Bytes())
	default:
		// Booleans and numbers: their text has no order, their value has.
		return compareNumbers(a.Interface(), b.Interface())
	}
}

func compareNumbers(a, b any) int {
	number := func(v any) float64 {
		switch v := v.(type) {
		case bool:
			if v {
				return 1
			}
			return 0
		case int32:
			return float64(v)
		case int64:
			return float64(v)
		case uint32:
			return float64(v)
		case uint64:
			return float64(v)
		case float32:
			return float64(v)
		case float64:
			return v
		default:
			return 0
		}
	}
	return cmp.Compare(number(a), number(b))
}
