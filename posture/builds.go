package posture

import (
	"fmt"
	"strings"
)

// Builds of the platform's from source: of a whole service, or of one container.

// plainField finds a field by its name in the API.
func plainField(from *node, path ...string) *node { return from.at(path...) }

// containerBuild reads how the platform builds one container.
func (r *reader) containerBuild(s *workload, n *node, path string, f fieldOf) {
	if !present(n) {
		return
	}

	s.builtContainers = true
	s.builders = append(s.builders, r.text(f(n, "serviceAccount"), path+".serviceAccount"))
	for _, from := range []*node{n, f(n, "buildpacksBuild")} {
		r.builtWith(s, listed(from, "environmentVariables"), path+".environmentVariables")

		if on := r.flag(f(from, "enableAutomaticUpdates"), path+".enableAutomaticUpdates"); on.text == "true" ||
			on.unknown {
			s.baseImages = first(s.baseImages, on)
		}
	}
}

// builtWith reads variables of a build: a mapping, or a list as that of a container's variables.
func (r *reader) builtWith(s *workload, n *node, path string) {
	if n == nil || n.kind != nodeList {
		s.texts = append(s.texts, r.values(n, path)...)
		return
	}

	for i, e := range n.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		v := r.variable(r.mapping(e, at), at)
		v.value = r.secretValue(e.at("value"), v.name, at+".value")
		s.texts = append(s.texts, v)
	}
}

// values are the texts of a mapping, as pairs are. A value that is no text is an error: it was not looked at.
func (r *reader) values(n *node, path string) []variable {
	if n != nil && n.kind != nodeUnknown {
		n = r.mapping(n, path)
	}
	for _, name := range sortedFields(n) {
		r.value(n.fields[name], path+"."+clip(name))
	}
	return pairs(n)
}

// annotatedMap reads an annotation that holds a JSON map; nil where the annotation is absent. A text that
// is not a map was not looked at, and may name any account and hold any secret: it is an error.
func (r *reader) annotatedMap(n *node, name string) (*node, text) {
	what := "the annotation " + name
	t := r.text(n.at(name), what)
	if strings.TrimSpace(t.text) == "" {
		return nil, t
	}

	docs, err := parse(Source{Text: []byte(t.text)})
	if err == nil && len(docs) == 1 && docs[0] != nil && docs[0].kind == nodeMapping {
		return docs[0], t
	}
	if !isTemplate(t.text) { // which is told as a template
		r.fault(n.at(name), what, "a JSON map")
	}
	return nil, t
}

// annotatedBuilds reads builds out of annotations: those of a service by names of their own, those of its containers as
// one JSON map.
func (r *reader) annotatedBuilds(s *workload, outer, inner *node) {
	const ofContainers = runPrefix + "build-config"
	of := func(n *node, name string) text { return r.text(n.at(name), "the annotation "+name) }
	r.buildVariables(s, outer)

	// Any of these annotations says that the platform builds; without an account of its own by the default one.
	for name := range fieldsOf(outer) {
		if strings.HasPrefix(name, runPrefix+"build-") && name != ofContainers {
			s.builders = []text{of(outer, runPrefix+"build-service-account")}
		}
	}

	for _, n := range []*node{inner, outer} {
		builds, t := r.annotatedMap(n, ofContainers)

		// What is known only after apply may name any account and hold any secret.
		if t.unknown {
			s.builders = append(s.builders, t)
			s.texts = append(s.texts, variable{name: "the variables of the build", value: t})
		}
		for _, name := range sortedFields(builds) {
			path := "the annotation " + ofContainers
			r.containerBuild(s, r.mapping(builds.fields[name], path+"."+clip(name)), path, plainField)
		}
	}
}
