package posture

import (
	"fmt"
	"slices"
	"strings"
)

// A link is one network interface of Direct VPC egress.
type link struct{ network, subnetwork text }

// A mount is a bucket or a share in the file system of a workload.
type mount struct {
	name, kind string // kind: gcs or nfs
	source     text   // the bucket, or the address of the server
	readOnly   text
}

const (
	mountBucket = "gcs"
	mountShare  = "nfs"
)

// textOf is a value that is set unless it is empty.
func textOf(s string) text { return text{set: s != "", text: s} }

// direct is Direct VPC egress by a list of interfaces. "At least one of network or subnetwork must be specified"
// (run/v2): one that names neither leads nowhere.
func direct(interfaces *node) text {
	for _, i := range items(interfaces) {
		if isSet(i.at("network")) || isSet(i.at("subnetwork")) {
			return text{set: true, text: "Direct VPC egress"}
		}
	}

	return text{}
}

// gcsDriver is how a Knative definition mounts a bucket.
const gcsDriver = "gcsfuse.run.googleapis.com"

// mount reads a volume of a Knative definition: "csi" with the driver of Cloud Storage, or "nfs".
func (r *reader) mount(s *workload, v *node, path string, sh shape) {
	name := r.text(v.at("name"), path+".name").text

	driver := r.text(sh.at(v, "csi").at("driver"), path+".csi.driver")
	if csi := sh.at(v, "csi"); present(csi) && (driver.unknown || driver.text == gcsDriver) {
		bucket := sh.at(csi, sh.name("volumeAttributes"), "bucketName")
		s.mounts = append(s.mounts,
			mount{name: name, kind: mountBucket, source: r.text(bucket, path+".csi.volumeAttributes.bucketName"),
				readOnly: r.flag(csi.at(sh.name("readOnly")), path+".csi.readOnly")})
	}

	r.share(s, name, sh.at(v, "nfs"), path,
		func(from *node, names ...string) *node { return sh.at(from, sh.name(names[0])) })
}

// share reads an NFS volume, which all forms of definition write alike.
func (r *reader) share(s *workload, name string, nfs *node, path string, f fieldOf) {
	if !present(nfs) {
		return
	}

	s.mounts = append(s.mounts,
		mount{name: name, kind: mountShare, source: r.text(f(nfs, "server"), path+".nfs.server"),
			readOnly: r.flag(f(nfs, "readOnly"), path+".nfs.readOnly")})
}

// v2Mount reads a volume as the v2 API and Terraform have it: a bucket, a share, or the sockets of databases.
func (r *reader) v2Mount(s *workload, v *node, path string, f fieldOf) {
	name := r.text(v.at("name"), path+".name").text

	if gcs := f(v, "gcs"); present(gcs) {
		s.mounts = append(s.mounts,
			mount{name: name, kind: mountBucket, source: r.text(f(gcs, "bucket"), path+".gcs.bucket"),
				readOnly: r.flag(f(gcs, "readOnly"), path+".gcs.readOnly")})
	}

	r.share(s, name, f(v, "nfs"), path, f)

	// An instance that is known only after apply leaves the rest of the definition known.
	instances := listed(f(v, "cloudSqlInstance"), "instances")
	if isUnknown(instances) {
		s.databases = append(s.databases, text{unknown: true})
	}
	for i, instance := range items(instances) {
		s.databases = append(s.databases, r.text(instance, fmt.Sprintf("%s.cloudSqlInstance.instances[%d]", path, i)))
	}
}

// plans are those of the input.
func (m *model) plans() []*plan {
	if m.allPlans != nil {
		return m.allPlans
	}

	for _, s := range m.workloads {
		if s.kind == kindPlan && s != m.gathered {
			m.allPlans = append(m.allPlans, s.plan)
		}
	}

	// Those that stand alone are judged only if some rule is about them, and tell of networks all the same.
	if m.gathered != nil {
		m.allPlans = append(m.allPlans, m.gathered.plan)
	}

	return m.allPlans
}

// A place is a resource with the plan that has it.
type place struct {
	in *plan
	*planned
}

// named are the resources of some types with a name, in every plan of the input.
func (m *model) named(name string, kinds ...string) []place {
	last := name[strings.LastIndex(name, "/")+1:]

	var out []place
	for _, p := range m.plans() {
		for _, r := range p.called(last, kinds...) {
			if last != "" {
				out = append(out, place{p, r})
			}
		}
	}

	return out
}

// pointed are the resources that an attribute names, by a reference of its own plan or by name.
func (m *model) pointed(from place, path []string, kinds ...string) (to []place, known bool) {
	value := from.after.block(path...)
	if text := value.written(); text != "" {
		return m.named(text, kinds...), true
	}

	found, known := from.in.points(from.planned, value, strings.Join(path, "."), kinds...)
	for _, r := range found {
		to = append(to, place{from.in, r})
	}

	return to, known
}

const (
	networkType    = "google_compute_network"
	subnetworkType = "google_compute_subnetwork"
	connectorType  = "google_vpc_access_connector"
	routerType     = "google_compute_router"
	natType        = "google_compute_router_nat"
)

// networkNamed is the name of the network that an attribute leads to: directly, or by a subnetwork.
func (m *model) networkNamed(from place, path ...string) text {
	value := from.after.block(path...)
	if name := value.written(); name != "" {
		return textOf(name[strings.LastIndex(name, "/")+1:])
	}

	// Two networks would leave open which one it is.
	to, known := m.pointed(from, path, networkType)
	if known && len(to) == 1 {
		return textOf(to[0].name)
	}

	return text{unknown: value != nil && value.kind == nodeUnknown}
}

// subnetworkNetwork is the network of a subnetwork. Without "network" a workload uses the one of the subnetwork's name,
// and the other way round.
func (m *model) subnetworkNetwork(name string) text {
	for _, sub := range m.named(name, subnetworkType) {
		if network := m.networkNamed(sub, "network"); network.set {
			return network
		}
	}

	if name[strings.LastIndex(name, "/")+1:] == defaultNetwork {
		// the network "default" has a subnetwork "default" in each region, and no other has one
		return textOf(defaultNetwork)
	}

	return text{}
}

const defaultNetwork = "default"

// networks are the names of the networks that a workload sends traffic to, as far as the input shows them. open reports
// that some network is not known.
func (m *model) networks(s *workload) (names []string, open bool) {
	add := func(t text) {
		if open = open || !t.set; t.set && !slices.Contains(names, t.text) {
			names = append(names, t.text)
		}
	}

	for i, l := range s.interfaces {
		network := l.network
		network.text = network.text[strings.LastIndex(network.text, "/")+1:]

		// The network itself, that of its subnetwork, or a reference of the plan: the first that is known.
		switch {
		case network.text != "":
			add(network)
		case l.subnetwork.text != "":
			add(m.subnetworkNetwork(l.subnetwork.text))
		default:
			add(m.referred(s, i))
		}
	}

	if s.connector.text == "" && !s.connector.unknown {
		return names, open
	}

	for _, connector := range m.connectors(s) {
		network := m.networkNamed(connector, "network")
		if subnet := connector.after.block("subnet", "name").written(); !network.set && subnet != "" {
			network = m.subnetworkNetwork(subnet)
		}
		add(network)
	}

	// A connector that no input describes may lead to any network.
	return names, open || len(m.connectors(s)) == 0
}

// referred is the network of an interface whose names are references that are known only after apply.
func (m *model) referred(s *workload, i int) text {
	// The plan has one reference for all interfaces: with several it is not known whose it is.
	if s.from == nil || len(s.interfaces) != 1 || i != 0 {
		return text{unknown: true}
	}

	from := place{s.in, s.from}
	for _, block := range [][]string{{"template", "vpc_access", "network_interfaces"},
		{"template", "template", "vpc_access", "network_interfaces"},
		{"vpc_access", "network_interfaces"}} {
		if network := m.networkNamed(from, append(slices.Clone(block), "network")...); network.set {
			return network
		}

		subnetworks, _ := m.pointed(from, append(slices.Clone(block), "subnetwork"), subnetworkType)
		for _, sub := range subnetworks {
			if network := m.networkNamed(sub, "network"); network.set {
				return network
			}
		}
	}

	return text{unknown: true}
}

// connectors are the Serverless VPC Access connectors of a workload, as far as the input has them.
func (m *model) connectors(s *workload) []place {
	if s.connector.text != "" || s.from == nil {
		return m.named(s.connector.text, connectorType)
	}

	var out []place
	for _, path := range [][]string{{"template", "vpc_access", "connector"},
		{"template", "template", "vpc_access", "connector"},
		{"vpc_access", "connector"}, {"service_config", "vpc_connector"}} {
		to, _ := m.pointed(place{s.in, s.from}, path, connectorType)
		out = append(out, to...)
	}

	return out
}

// A way out is a Cloud NAT that gives traffic of a network its address.
type wayOut struct {
	address string
	fixed   bool // by addresses that somebody reserved
	unknown bool // whether it is fixed
}

// A gateway is a Cloud NAT of the input.
type gateway struct {
	wayOut
	region   string
	networks []string // of its routers; none: not known
}

// gateways are those of the input, read once for all workloads.
func (m *model) gateways() []gateway {
	if m.allGateways != nil {
		return m.allGateways
	}

	m.allGateways = []gateway{}
	for _, p := range m.plans() {
		for _, nat := range p.of(natType) {
			option := nat.after.at("nat_ip_allocate_option")
			g := gateway{region: nat.after.at("region").written(), wayOut: wayOut{address: nat.address,
				unknown: option != nil && option.kind == nodeUnknown,
				fixed:   isOneOf(option, "MANUAL_ONLY") && isSet(nat.after.at("nat_ips"))}}

			routers, _ := m.pointed(place{p, nat}, []string{"router"}, routerType)
			for _, router := range routers {
				network := m.networkNamed(router, "network")

				// A router whose network is not known may serve any: the gateway then counts everywhere.
				if !network.set {
					g.networks = nil
					break
				}
				g.networks = append(g.networks, network.text)
			}

			m.allGateways = append(m.allGateways, g)
		}
	}

	return m.allGateways
}

// natOf are the gateways of Cloud NAT that may serve a workload: those of its networks and its region, and those of
// which the input does not say so.
func (m *model) natOf(s *workload) []wayOut {
	networks, open := m.networks(s)

	var out []wayOut
	for _, g := range m.gateways() {
		elsewhere := g.region != "" && s.region.set && len(s.regions) == 0 && g.region != s.region.text
		other := len(g.networks) > 0 && !open &&
			!slices.ContainsFunc(g.networks, func(name string) bool { return slices.Contains(networks, name) })
		if !elsewhere && !other {
			out = append(out, g.wayOut)
		}
	}

	return out
}
