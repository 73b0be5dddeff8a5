package posture

import (
	"slices"
	"strings"
)

// A front is a serverless network endpoint group: a load balancer, or Private Service Connect, leads to what it names.
type front struct {
	service         text // empty: any that its URL mask can name
	project, region text
}

// A mapping is a domain that leads to a service past every load balancer.
type mapping struct {
	domain           string
	service, project text
}

// names reports whether a name may be a workload's. An unknown one may be any.
func names(name, project text, s *workload) bool {
	if project.set && s.project.set && !sameProject(project.text, s.project.text) {
		return false
	}
	return !name.set || name.text == s.name || name.text == s.address
}

// fronted reports whether a load balancer leads to a workload.
func (m *model) fronted(s *workload) bool {
	// By name, so that thousands of services and groups are not tried one with another; "" is any name.
	if m.frontsOf == nil {
		m.frontsOf = map[string][]front{}
		for _, f := range m.fronts {
			name := f.service.text
			if !f.service.set {
				name = ""
			}
			m.frontsOf[name] = append(m.frontsOf[name], f)
		}
	}

	fronts := slices.Concat(m.frontsOf[""], m.frontsOf[s.name], m.frontsOf[s.address])
	return slices.ContainsFunc(fronts, func(f front) bool {
		return names(f.service, f.project, s) && (!f.region.set || !s.region.set || f.region.text == s.region.text ||
			len(s.regions) > 0)
	})
}

// mapped returns a domain that leads to a workload directly.
func (m *model) mapped(s *workload) (string, bool) {
	for _, d := range m.mappings {
		if names(d.service, d.project, s) {
			return d.domain, true
		}
	}
	return "", false
}

// plannedFronts adds the endpoint groups and domain mappings of a plan.
func (m *model) plannedFronts(r *reader, p *plan) {
	for _, g := range p.of("google_compute_region_network_endpoint_group") {
		f := front{project: r.text(g.after.at("project"), "project"), region: r.text(g.after.at("region"), "region")}
		f.region.text = lastPart(f.region.text) // an export has the address of the region

		for _, kind := range []string{"cloud_run", "cloud_function"} {
			if isUnknown(g.after.at(kind)) {
				m.fronts = append(m.fronts, f) // whatever it names
				continue
			}
			for _, block := range r.list(g.after.at(kind), kind) {
				field := map[string]string{"cloud_run": "service", "cloud_function": "function"}[kind]
				f.service = r.text(block.at(field), kind+"."+field)
				f.service.text = lastPart(f.service.text)
				f.service.set = f.service.text != "" // a state has "" beside a URL mask
				m.fronts = append(m.fronts, f.resolved(p, g, block.at(field), kind+"."+field)...)
			}
		}
	}

	for _, d := range p.of("google_cloud_run_domain_mapping") {
		m.mappings = append(m.mappings, mapping{domain: d.after.at("name").written(),
			project: r.text(d.after.at("project"), "project"),
			service: r.text(d.after.block("spec").at("route_name"), "spec.route_name")})
	}
}

// resolved follows a reference to workloads of the same plan.
func (f front) resolved(p *plan, from *planned, value *node, path string) []front {
	to, known := p.points(from, value, path, slices.Concat(workloadTypesOf(kindService),
		[]string{"google_cloud_run_v2_instance"})...)
	if !f.service.unknown || !known || len(to) == 0 {
		return []front{f}
	}

	var out []front
	for _, workload := range to {
		f.service = text{set: true, text: workload.address}
		if workload.name != "" {
			f.service.text = workload.name
		}
		out = append(out, f)
	}

	return out
}

// The resources of load balancers, global and regional.

func httpsProxies() []string {
	return []string{"google_compute_target_https_proxy", "google_compute_region_target_https_proxy",
		"google_compute_target_ssl_proxy"}
}

func httpProxies() []string {
	return []string{"google_compute_target_http_proxy", "google_compute_region_target_http_proxy"}
}

func urlMaps() []string {
	return []string{"google_compute_url_map", "google_compute_region_url_map"}
}

func sslPolicies() []string {
	return []string{"google_compute_ssl_policy", "google_compute_region_ssl_policy"}
}

const globalBackend, regionalBackend = "google_compute_backend_service", "google_compute_region_backend_service"

func backends() []string { return []string{globalBackend, regionalBackend} }

// An entrance is where a load balancer takes requests.
type entrance struct {
	proxy *planned
	plain bool // without TLS

	// redirects reports that it sends every request on to HTTPS; sometimes: its URL map is not known.
	redirects truth
	ssl       text // its SSL policy
}

// entrances are the proxies of a plan that speak HTTP.
func (p *plan) entrances() []entrance {
	var out []entrance
	for _, proxy := range p.of(httpsProxies()...) {
		out = append(out, entrance{proxy: proxy, redirects: never,
			ssl: (&reader{}).text(proxy.after.at("ssl_policy"), "ssl_policy")})
	}

	for _, proxy := range p.of(httpProxies()...) {
		out = append(out, entrance{proxy: proxy, plain: true, redirects: p.redirects(proxy)})
	}

	return out
}

// redirects reports whether a proxy's URL map sends every request on to HTTPS. Where the map is not known, it does so
// only if every map of the plan does.
func (p *plan) redirects(proxy *planned) truth {
	maps, known := p.points(proxy, proxy.after.at("url_map"), "url_map", urlMaps()...)
	candidates := maps
	if !known {
		candidates = p.of(urlMaps()...)
	}

	if len(candidates) == 0 {
		return sometimes // of another configuration
	}

	// Without a known map all maps of the plan have to agree.
	all, some := true, false
	for _, m := range candidates {
		only := redirectsOnly(m.after)
		all, some = all && only, some || only
	}

	switch {
	case all:
		return always
	case known || !some:
		return never
	}

	return sometimes
}

// redirectsOnly reports whether a URL map leads nowhere but to HTTPS.
func redirectsOnly(n *node) bool {
	return isOneOf(n.block("default_url_redirect").at("https_redirect"), "true") && !serves(n, 0)
}

// serves reports whether a URL map sends requests to a backend, or redirects some without HTTPS.
func serves(n *node, depth int) bool {
	if n == nil || depth > 10 {
		return false
	}
	if slices.ContainsFunc(n.items, func(item *node) bool { return serves(item, depth+1) }) {
		return true
	}

	for name, field := range fieldsOf(n) {
		switch {
		case name == "test": // describes what is expected, and sends nothing
		case name == "default_service" || name == "service" || name == "backend_service":
			if isSet(field) {
				return true
			}
		case isUnknown(field) && slices.Contains([]string{"path_matcher", "path_rule", "route_rules",
			"default_route_action", "route_action", "weighted_backend_services"}, name):
			return true // a block that may lead to a backend
		case strings.HasSuffix(name, "url_redirect") && present(field) &&
			!isOneOf(field.block().at("https_redirect"), "true"):
			return true
		case serves(field, depth+1):
			return true
		}
	}

	return false
}

// external reports whether a backend service may receive requests from the Internet: unless its scheme is known to be
// another. A global one is EXTERNAL by default. A regional one is INTERNAL by default, and with scheme EXTERNAL a
// passthrough load balancer, which cannot have a serverless backend, unless its protocol is one of HTTP.
func external(p *planned) bool {
	scheme := p.after.at("load_balancing_scheme")
	if p.kind == globalBackend {
		return !isOneOf(scheme, "INTERNAL_SELF_MANAGED", "INTERNAL_MANAGED", "INTERNAL")
	}

	switch {
	case isOneOf(scheme, "EXTERNAL"):
		return isOneOf(p.after.at("protocol"), "HTTP", "HTTPS", "HTTP2", "H2C")
	case isOneOf(scheme, "INTERNAL_SELF_MANAGED", "INTERNAL_MANAGED", "INTERNAL"):
		return false
	}

	return isSet(scheme) // EXTERNAL_MANAGED, one that is not known yet, or a new one
}
