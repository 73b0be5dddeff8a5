package posture

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// shape says how a Knative definition is written: plainly, or as the blocks of
// Terraform's google_cloud_run_service with names in snake case.
type shape struct {
	at func(n *node, path ...string) *node
	// name turns a field's name into this shape's.
	name func(string) string
}

func knativeShape() shape {
	return shape{at: func(n *node, path ...string) *node { return n.at(path...) },
		name: func(s string) string { return s }}
}

func blockShape() shape {
	return shape{at: func(n *node, path ...string) *node { return n.block(path...) }, name: snake}
}

func snake(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}

	return b.String()
}

// knative reads a Service, or a Job, whose tasks stand one template deeper.
func (r *reader) knative(n *node, kind string) *workload {
	s := &workload{kind: kind, file: r.file, line: n.line, column: n.column, form: formKnative}
	meta := r.mapping(n.at("metadata"), "metadata")
	s.name = r.text(meta.at("name"), "metadata.name").text
	labels := r.mapping(meta.at("labels"), "metadata.labels")
	s.region = r.text(labels.at("cloud.googleapis.com/location"), "the label cloud.googleapis.com/location")
	s.project = r.text(meta.at("namespace"), "metadata.namespace")
	spec := r.mapping(n.at("spec"), "spec")
	template := r.mapping(spec.at("template"), "spec.template")
	inner := r.mapping(template.at("spec"), "spec.template.spec")
	revision := r.mapping(template.at("metadata"), "spec.template.metadata").at("annotations")

	// A job's task stands one template deeper, and an instance has no template.
	switch kind {
	case kindJob:
		task := r.mapping(inner.at("template"), "spec.template.spec.template")
		inner = r.mapping(task.at("spec"), "spec.template.spec.template.spec")
	case kindInstance: // without a template: its annotations and containers are its own
		inner, revision = spec, meta.at("annotations")
	}

	s.annotated = append(append(s.annotated, pairs(labels)...), pairs(template.at("metadata", "labels"))...)
	r.annotations(s, meta.at("annotations"), revision)
	r.revision(s, inner, knativeShape())
	own := r.text(template.at("metadata", "name"), "spec.template.metadata.name").text
	r.traffic(s, spec.at("traffic"), "revisionName", own)
	r.traffic(s, spec.at("instanceSplits"), "revisionName", own)
	r.ready(s, n.at("status", "latestCreatedRevisionName"), n.at("status", "latestReadyRevisionName"))
	s.partial, s.hidden = r.partial, r.hidden

	return s
}

const (
	runPrefix   = "run.googleapis.com/"
	scalePrefix = "autoscaling.knative.dev/"
)

// annotations reads those of the service and of its template.
func (r *reader) annotations(s *workload, outer, inner *node) {
	outer, inner = r.mapping(outer, "metadata.annotations"), r.mapping(inner, "spec.template.metadata.annotations")
	of := func(n *node, name string) text { return r.text(n.at(name), "the annotation "+name) }
	s.ingress = of(outer, runPrefix+"ingress")
	s.invokerDisabled = r.flag(outer.at(runPrefix+"invoker-iam-disabled"),
		"the annotation "+runPrefix+"invoker-iam-disabled")
	s.iap = r.flag(outer.at(runPrefix+"iap-enabled"), "the annotation "+runPrefix+"iap-enabled")
	s.urlDisabled = r.flag(outer.at(runPrefix+"default-url-disabled"),
		"the annotation "+runPrefix+"default-url-disabled")
	s.binauthz = of(outer, runPrefix+"binary-authorization")
	s.breakglass = of(outer, runPrefix+"binary-authorization-breakglass")

	// Settings of a revision are on its template.
	s.connector = of(inner, runPrefix+"vpc-access-connector")
	s.network = of(inner, runPrefix+"network-interfaces")
	var interfaces []struct{ Network, Subnetwork string }
	err := json.Unmarshal([]byte(s.network.text), &interfaces)
	if err != nil && strings.TrimSpace(s.network.text) != "" && !isTemplate(s.network.text) {
		const name = runPrefix + "network-interfaces"
		r.fault(inner.at(name), "the annotation "+name, "a JSON list of networks")
	}
	if err != nil || len(interfaces) == 0 || interfaces[0].Network+interfaces[0].Subnetwork == "" {
		s.network.set = false // an empty list is none
	}

	for _, i := range interfaces {
		s.interfaces = append(s.interfaces, link{network: textOf(i.Network), subnetwork: textOf(i.Subnetwork)})
	}

	sockets := of(inner, runPrefix+"cloudsql-instances")
	if sockets.unknown {
		s.databases = append(s.databases, sockets)
	}
	for _, name := range strings.FieldsFunc(sockets.text, func(r rune) bool { return r == ',' || r == ' ' }) {
		s.databases = append(s.databases, textOf(name))
	}

	s.egress = of(inner, runPrefix+"vpc-access-egress")
	if s.egress.text == "all" { // the deprecated spelling
		s.egress.text = "all-traffic"
	}

	s.key = of(inner, runPrefix+"encryption-key")
	s.revocation = gcloudName(of(inner, runPrefix+"post-key-revocation-action-type"), revocationValues())
	s.identity = gcloudName(of(inner, runPrefix+"identity-type"), identityTypes())
	s.baseImages = first(of(inner, runPrefix+"base-images"), of(outer, runPrefix+"base-images"))

	// Older and newer names of the same setting; "false" is off.
	for _, name := range []string{"build-enable-automatic-updates", "enable-automatic-updates"} {
		for _, n := range []*node{outer, inner} {
			if on := r.flag(n.at(runPrefix+name), "the annotation "+runPrefix+name); on.text == "true" || on.unknown {
				s.baseImages = first(s.baseImages, on)
			}
		}
	}

	// A JSON map from container to "gs://…": the code is no part of an image.
	s.sources = first(of(inner, runPrefix+"sources"), of(outer, runPrefix+"sources"))
	r.annotatedBuilds(s, outer, inner)
	s.shell = of(inner, runPrefix+"secure-session-agent")
	s.healthDisabled = r.flag(inner.at(runPrefix+"health-check-disabled"),
		"the annotation "+runPrefix+"health-check-disabled")

	// A service in several regions names them all in one annotation.
	if list := of(outer, runPrefix+"regions"); list.set {
		for _, name := range strings.Split(list.text, ",") {
			s.regions = append(s.regions, text{set: true, text: strings.TrimSpace(name)})
		}
	} else if list.unknown {
		s.regions = []text{list}
	}

	s.annotated = append(s.annotated, append(pairs(outer), pairs(inner)...)...)
	of32 := func(n *node, name string) count { return r.count(n.at(name), "the annotation "+name) }

	// The minimum of the service and that of a revision both hold, so that the larger one counts.
	s.min = larger(of32(inner, scalePrefix+"minScale"), of32(outer, runPrefix+"minScale"))
	s.max = firstCount(of32(inner, scalePrefix+"maxScale"), of32(outer, runPrefix+"maxScale"))

	// With manual scaling the number of instances is fixed: it is both bounds.
	switch mode := of(outer, runPrefix+"scalingMode"); {
	case mode.text == "manual":
		s.min = of32(outer, runPrefix+"manualInstanceCount")
		s.max = s.min
	case mode.unknown:
		s.modeUnknown = true
	}
}

// buildVariables reads the variables of a build, which one annotation has as a JSON map.
func (r *reader) buildVariables(s *workload, annotations *node) {
	const name = runPrefix + "build-environment-variables"
	variables, t := r.annotatedMap(annotations, name)
	if t.unknown {
		s.texts = append(s.texts, variable{name: "the variables of the build", value: t})
	}
	s.texts = append(s.texts, r.values(variables, "the annotation "+name)...)
}

// pairs are the texts of a mapping, and those that are known only after apply.
func pairs(n *node) []variable {
	if isUnknown(n) {
		return []variable{{name: "map", value: text{unknown: true}}}
	}
	if n == nil || n.kind != nodeMapping {
		return nil
	}

	var out []variable
	for _, name := range slices.Sorted(maps.Keys(n.fields)) {
		switch v := n.fields[name]; {
		case v.written() != "":
			out = append(out, variable{name: name, value: text{set: true, text: v.written()}})
		case v != nil && v.kind == nodeUnknown:
			out = append(out, variable{name: name, value: text{unknown: true}})
		}
	}

	return out
}

// probed reads what a probe sends: its headers, and the words of its command.
func (r *reader) probed(c *container, n *node, path string, f fieldOf) {
	for i, h := range r.list(listed(f(n, "httpGet"), "httpHeaders"), path+".httpGet.httpHeaders") {
		at := fmt.Sprintf("%s.httpGet.httpHeaders[%d]", path, i)
		h = r.mapping(h, at)
		header := variable{name: r.text(h.at("name"), at+".name").text}
		header.value = r.secretValue(h.at("value"), header.name, at+".value")
		c.headers = append(c.headers, header)
	}

	// A query in the path is sent like a header.
	if at := f(n, "httpGet").at("path"); at != nil {
		c.headers = append(c.headers, variable{name: "path", value: r.value(at, path+".httpGet.path")})
	}

	c.execs = append(c.execs, r.strings(f(n, "exec").at("command"), path+".exec.command"))
}

// larger of two counts: a service's minimum and a revision's both hold.
func larger(a, b count) count {
	if !b.set || (a.set && a.n >= b.n) {
		return firstCount(a, b)
	}
	return b
}

// revision reads a pod: containers, volumes, account, limits.
func (r *reader) revision(s *workload, n *node, sh shape) {
	// This runtime class is how a revision asks for automatic base image updates.
	if class := r.text(sh.at(n, sh.name("runtimeClassName")), "spec.template.spec.runtimeClassName"); class.unknown ||
		class.text == runPrefix+"linux-base-image-update" {
		s.baseImages = class
	}

	s.account = r.text(sh.at(n, sh.name("serviceAccountName")), "spec.template.spec.serviceAccountName")
	s.timeout = r.seconds(sh.at(n, sh.name("timeoutSeconds")), "spec.template.spec.timeoutSeconds")
	s.concurrency = r.count(sh.at(n, sh.name("containerConcurrency")), "spec.template.spec.containerConcurrency")

	// Cloud Run has no init containers; where Knative has, they run like the others.
	for _, list := range []string{"containers", sh.name("initContainers")} {
		for i, c := range r.list(n.at(list), list) {
			path := fmt.Sprintf("%s[%d]", list, i)
			s.containers = append(s.containers, r.container(c, path, sh))
			r.containerBuild(s, sh.at(c, sh.name("buildConfig")), path+".buildConfig",
				func(from *node, names ...string) *node { return sh.at(from, sh.name(names[0])) })
		}
	}

	r.sandboxes(s, sh.at(n, "sandboxes"), func(c *node, path string) container { return r.container(c, path, sh) })

	for i, v := range r.list(n.at("volumes"), "volumes") {
		path := fmt.Sprintf("volumes[%d]", i)
		v = r.mapping(v, path)
		r.mount(s, v, path, sh)
		for _, source := range items(sh.at(v, "projected").at("sources")) { // a secret among them, of no version
			if projected := sh.at(source, "secret"); present(projected) {
				s.volumes = append(s.volumes, secretRef{name: r.text(v.at("name"), path+".name").text,
					secret: r.text(projected.at("name"), path+".projected.sources.secret.name").text})
			}
		}
		secret := r.mapping(sh.at(v, "secret"), path+".secret")
		if secret == nil {
			continue
		}

		ref := secretRef{name: r.text(v.at("name"), path+".name").text,
			secret: r.text(sh.at(secret, sh.name("secretName")), path+".secret.secretName").text}
		items := r.list(secret.at("items"), path+".secret.items")
		if len(items) == 0 {
			s.volumes = append(s.volumes, ref)
		}

		for _, item := range items {
			ref.version = r.text(item.at("key"), path+".secret.items.key")
			ref.path = r.text(item.at("path"), path+".secret.items.path").text
			s.volumes = append(s.volumes, ref)
		}
	}
}

func (r *reader) container(n *node, path string, sh shape) container {
	n = r.mapping(n, path)
	c := container{name: r.text(n.at("name"), path+".name").text, image: r.text(n.at("image"), path+".image")}
	limits := r.mayBeUnknown(sh.at(n, "resources", "limits"), path+".resources.limits")
	c.cpu = r.text(limits.at("cpu"), path+".resources.limits.cpu")
	c.memory = r.text(limits.at("memory"), path+".resources.limits.memory")
	c.args = append(r.strings(n.at("command"), path+".command"), r.strings(n.at("args"), path+".args")...)
	c.port = r.nonEmpty(n.at("ports"), path+".ports")
	c.portUnknown = isUnknown(n.at("ports"))
	c.probes(sh.at(n, sh.name("startupProbe")), sh.at(n, sh.name("livenessProbe")))
	c.launcher = present(n.at(sh.name("sandboxLauncher")))

	field := func(from *node, names ...string) *node { return sh.at(from, sh.name(names[0])) }
	for _, probe := range probeNames() {
		r.probed(&c, field(n, probe), path+"."+probe, field)
	}

	// "envFrom" sets a variable for each key of a secret, and names no version.
	for i, e := range r.list(listed(n, "envFrom"), path+".envFrom") {
		if ref := sh.at(e, sh.name("secretRef")); present(ref) {
			name := r.text(ref.at("name"), fmt.Sprintf("%s.envFrom[%d].secretRef.name", path, i)).text
			if name == "" {
				name = r.text(sh.at(ref, sh.name("localObjectReference"), "name"),
					fmt.Sprintf("%s.envFrom[%d].secretRef", path, i)).text
			}
			c.env = append(c.env,
				variable{name: cmp.Or(name, "envFrom"),
					secret: &secretRef{name: cmp.Or(name, "envFrom"), secret: name}})
		}
	}

	for i, e := range r.list(n.at("env"), path+".env") {
		at := fmt.Sprintf("%s.env[%d]", path, i)
		e = r.mapping(e, at)
		v := r.variable(e, at)
		v.value = r.secretValue(e.at("value"), v.name, at+".value")
		if ref := r.mapping(sh.at(e, sh.name("valueFrom"), sh.name("secretKeyRef")),
			at+".valueFrom.secretKeyRef"); ref != nil {
			v.secret = &secretRef{name: v.name, secret: r.text(ref.at("name"), at+".valueFrom.secretKeyRef.name").text,
				version: r.text(ref.at("key"), at+".valueFrom.secretKeyRef.key")}
		}

		c.env = append(c.env, v)
	}

	return c
}

// variable begins a variable with its name. One of a name that is not known may be named like a secret.
func (r *reader) variable(e *node, path string) variable {
	name := r.text(e.at("name"), path+".name")
	if name.unknown {
		r.hides(path + ".name")
	}

	return variable{name: name.text}
}

// ready notes that the newest revision does not serve yet, or never will, and
// an older one does.
func (r *reader) ready(s *workload, created, ready *node) {
	c, d := r.text(created, "the latest created revision"), r.text(ready, "the latest ready revision")
	if c.set && d.text != c.text {
		s.otherRevisions = append(s.otherRevisions, cmp.Or(d.text, "an older revision"))
	}
}

// traffic notes revisions other than the one that this definition makes.
func (r *reader) traffic(s *workload, n *node, field, own string) {
	for i, t := range r.list(n, "traffic") {
		name := r.text(r.mapping(t, fmt.Sprintf("traffic[%d]", i)).at(field), "traffic."+field)
		s.trafficUnknown = s.trafficUnknown || name.unknown
		if name.text != "" && name.text != own {
			s.otherRevisions = append(s.otherRevisions, name.text)
		}
	}
}
