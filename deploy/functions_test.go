package deploy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	"go.yaml.in/yaml/v4"
)

// functions are those of Terraform's functions that the modules use. Files are read relative to the directory dir, as terraform
// does in a root module that is its working directory.
func functions(dir string) map[string]function.Function {
	return map[string]function.Function{
		"can": tryfunc.CanFunc, "try": tryfunc.TryFunc, "contains": stdlib.ContainsFunc, "merge": stdlib.MergeFunc, "regex": stdlib.RegexFunc,
		"values": stdlib.ValuesFunc, "keys": stdlib.KeysFunc, "substr": stdlib.SubstrFunc, "setunion": stdlib.SetUnionFunc,
		"setintersection": stdlib.SetIntersectionFunc, "setsubtract": stdlib.SetSubtractFunc, "flatten": stdlib.FlattenFunc,
		"distinct": stdlib.DistinctFunc, "trimsuffix": stdlib.TrimSuffixFunc, "trimprefix": stdlib.TrimPrefixFunc, "split": stdlib.SplitFunc,
		"join": stdlib.JoinFunc, "lower": stdlib.LowerFunc, "concat": stdlib.ConcatFunc, "coalesce": stdlib.CoalesceFunc, "format": stdlib.FormatFunc,
		"jsonencode": stdlib.JSONEncodeFunc, "jsondecode": stdlib.JSONDecodeFunc, "range": stdlib.RangeFunc, "lookup": stdlib.LookupFunc,
		"floor": stdlib.FloorFunc, "max": stdlib.MaxFunc, "min": stdlib.MinFunc,
		"formatdate": stdlib.FormatDateFunc, "compact": stdlib.CompactFunc, "sort": stdlib.SortFunc,

		"toset": to(cty.Set(cty.DynamicPseudoType)), "tolist": to(cty.List(cty.DynamicPseudoType)), "tonumber": to(cty.Number), "tostring": to(cty.String),
		"alltrue": every(true), "anytrue": every(false), "length": function.New(lengthSpec()), "one": function.New(oneSpec()),

		"sha256": ofText(func(s ...string) (string, error) {
			sum := sha256.Sum256([]byte(s[0]))
			return hex.EncodeToString(sum[:]), nil
		}, 1),
		"urlencode": ofText(func(s ...string) (string, error) { return url.QueryEscape(s[0]), nil }, 1),
		"dirname":   ofText(func(s ...string) (string, error) { return path.Dir(s[0]), nil }, 1),
		"basename":  ofText(func(s ...string) (string, error) { return path.Base(s[0]), nil }, 1),
		"replace": ofText(func(s ...string) (string, error) {
			if len(s[1]) > 1 && s[1][0] == '/' && s[1][len(s[1])-1] == '/' {
				re, err := regexp.Compile(s[1][1 : len(s[1])-1])
				if err != nil {
					return "", err
				}
				return re.ReplaceAllString(s[0], s[2]), nil
			}
			return strings.ReplaceAll(s[0], s[1], s[2]), nil
		}, 3),
		"file": ofText(func(s ...string) (string, error) {
			name := s[0]
			if !strings.HasPrefix(name, "terraform/") { // path.module begins so
				name = filepath.Join(dir, name)
			}
			b, err := os.ReadFile(name)
			return string(b), err
		}, 1),
		"startswith":  ofTexts(strings.HasPrefix),
		"endswith":    ofTexts(strings.HasSuffix),
		"strcontains": ofTexts(strings.Contains),
		// JSON is YAML; terraform's is another text of the same.
		"yamlencode": stdlib.JSONEncodeFunc, "slice": stdlib.SliceFunc,
		"yamldecode": function.New(&function.Spec{
			Params: []function.Parameter{{Name: "s", Type: cty.String}},
			Type:   function.StaticReturnType(cty.DynamicPseudoType),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				var v any
				if err := yaml.Load([]byte(args[0].AsString()), &v); err != nil {
					return cty.NilVal, err
				}
				b, err := json.Marshal(v)
				if err != nil {
					return cty.NilVal, err
				}
				return stdlib.JSONDecode(cty.StringVal(string(b)))
			},
		}),
	}
}

func ofText(f func(...string) (string, error), n int) function.Function {
	var params []function.Parameter
	for i := range n {
		params = append(params, function.Parameter{Name: fmt.Sprint("p", i), Type: cty.String})
	}
	return function.New(&function.Spec{Params: params, Type: function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			var s []string
			for _, a := range args {
				s = append(s, a.AsString())
			}
			out, err := f(s...)
			return cty.StringVal(out), err
		}})
}

func ofTexts(f func(a, b string) bool) function.Function {
	params := []function.Parameter{{Name: "a", Type: cty.String}, {Name: "b", Type: cty.String}}
	return function.New(&function.Spec{Params: params, Type: function.StaticReturnType(cty.Bool), Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
	}})
}

func to(kind cty.Type) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "v", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowDynamicType: true}},
		Type: func(args []cty.Value) (cty.Type, error) {
			v, err := convert.Convert(args[0], kind)
			return v.Type(), err
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return convert.Convert(args[0], kind) },
	})
}

func every(all bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "v", Type: cty.List(cty.Bool)}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			for it := args[0].ElementIterator(); it.Next(); {
				if _, v := it.Element(); v.True() != all {
					return cty.BoolVal(!all), nil
				}
			}
			return cty.BoolVal(all), nil
		},
	})
}

func lengthSpec() *function.Spec {
	return &function.Spec{
		Params: []function.Parameter{{Name: "v", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if args[0].Type() == cty.String {
				return cty.NumberIntVal(int64(len([]rune(args[0].AsString())))), nil
			}
			return cty.NumberIntVal(int64(args[0].LengthInt())), nil
		},
	}
}

func oneSpec() *function.Spec {
	only := func(v cty.Value) (cty.Value, error) {
		switch v.LengthInt() {
		case 0:
			return cty.NullVal(cty.DynamicPseudoType), nil
		case 1:
			it := v.ElementIterator()
			it.Next()
			_, e := it.Element()
			return e, nil
		}
		return cty.NilVal, fmt.Errorf("one() of %d elements", v.LengthInt())
	}
	return &function.Spec{
		Params: []function.Parameter{{Name: "v", Type: cty.DynamicPseudoType}},
		Type: func(args []cty.Value) (cty.Type, error) {
			v, err := only(args[0])
			if err != nil {
				return cty.NilType, err
			}
			return v.Type(), nil
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return only(args[0]) },
	}
}

// number is the made-up number of a project.
func number(project string) string {
	sum := sha256.Sum256([]byte(project))
	n := 0
	for _, b := range sum[:4] {
		n = n<<8 | int(b)
	}
	return fmt.Sprintf("1%011d", n)
}

// madeUp replaces computed values that other resources take apart, or that Google derives from what was given.
func madeUp(kind string, v cty.Value) cty.Value {
	values := v.AsValueMap()
	s := func(name string) string { return shown(values[name]) }
	put := func(name, text string) { values[name] = cty.StringVal(text) }
	switch kind {
	case "google_project":
		put("number", number(s("project_id")))
	case "google_service_account":
		email := s("account_id") + "@" + s("project") + ".iam.gserviceaccount.com"
		put("email", email)
		put("member", "serviceAccount:"+email)
		put("name", "projects/"+s("project")+"/serviceAccounts/"+email)
	case "google_kms_key_ring":
		put("id", "projects/"+s("project")+"/locations/"+s("location")+"/keyRings/"+s("name"))
	case "google_kms_crypto_key":
		put("id", s("key_ring")+"/cryptoKeys/"+s("name"))
	case "google_kms_crypto_key_version":
		put("name", s("crypto_key")+"/cryptoKeyVersions/"+s("version"))
		values["public_key"] = cty.TupleVal([]cty.Value{cty.ObjectVal(map[string]cty.Value{
			"pem": cty.StringVal("PEM of " + s("version")), "algorithm": cty.StringVal("EC_SIGN_P256_SHA256"),
		})})
	case "google_binary_authorization_attestor":
		note := values["attestation_authority_note"].Index(cty.NumberIntVal(0)).AsValueMap()
		note["delegation_service_account_email"] = cty.StringVal("service-" + number(s("project")) + "@gcp-sa-binaryauthorization.iam.gserviceaccount.com")
		values["attestation_authority_note"] = cty.TupleVal([]cty.Value{cty.ObjectVal(note)})
	case "google_sql_database_instance":
		put("connection_name", s("project")+":"+s("region")+":"+s("name"))
	case "google_secret_manager_secret":
		put("id", "projects/"+s("project")+"/secrets/"+s("secret_id"))
	case "google_secret_manager_secret_version":
		put("version", "7")
	case "google_cloud_run_v2_service":
		put("uri", "https://"+s("name")+"-"+number(s("project"))+"."+s("location")+".run.app")
	}
	return cty.ObjectVal(values)
}
