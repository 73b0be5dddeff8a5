package emulator

import (
	"slices"
	"strings"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// updated is old with the fields of a mask taken from in, or, without a mask,
// every field that in sets (AIP-134). Output-only fields stay as they are.
func updated[T any, P interface {
	*T
	proto.Message
}](old, in *T, mask *fieldmaskpb.FieldMask, outputOnly ...string) (*T, error) {
	if in == nil {
		return nil, invalid("", "the new value is required")
	}
	out := proto.CloneOf(P(old))
	src, dst := P(in).ProtoReflect(), P(out).ProtoReflect()
	paths := mask.GetPaths()
	if len(paths) == 0 {
		src.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
			paths = append(paths, string(fd.Name()))
			return true
		})
	}

	// AIP-134: "*" is a full replacement, so that fields which in does not set are cleared.
	if slices.Equal(paths, []string{"*"}) {
		paths = nil
		for fields, i := dst.Descriptor().Fields(), 0; i < fields.Len(); i++ {
			paths = append(paths, string(fields.Get(i).Name()))
		}
	}

	for _, path := range paths {
		first, _, _ := strings.Cut(path, ".")
		if slices.Contains(outputOnly, first) {
			continue
		}
		if err := copyPath(dst, src, path); err != nil {
			return nil, err
		}
	}
	return (*T)(out), nil
}

// copyPath copies one dotted path; what is unset at the source is cleared.
func copyPath(dst, src protoreflect.Message, path string) error {
	first, rest, nested := strings.Cut(path, ".")
	fd := dst.Descriptor().Fields().ByName(protoreflect.Name(first))
	if fd == nil || nested && (fd.Message() == nil || fd.Cardinality() == protoreflect.Repeated) {
		return invalid("update_mask", "invalid field mask: no field "+path)
	}

	switch {
	case nested && (src.Has(fd) || dst.Has(fd)):
		return copyPath(dst.Mutable(fd).Message(), src.Get(fd).Message(), rest)
	case nested:
		return nil
	case src.Has(fd):
		dst.Set(fd, src.Get(fd))
	default:
		dst.Clear(fd)
	}
	return nil
}

// detailName is the field of a oneof that a kind is named after.
func detailName(k grafeaspb.NoteKind) string { return strings.ToLower(k.String()) }
