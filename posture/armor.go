package posture

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
)

// An armorRule is a rule of a Cloud Armor security policy.
type armorRule struct {
	priority  int64
	action    string
	limits    bool           // has rate_limit_options
	everybody bool           // matches every address
	ranges    []netip.Prefix // that it matches, where it has no expression
	condition condition
	text      string   // of the expression
	excluded  []string // rule sets whose signatures it does not look for
}

// An armor is a security policy: the rules that are in force, in the order in which Cloud Armor evaluates them. The
// first rule that matches a request decides.
type armor []armorRule

// an armorReading is a security policy as it may be after apply. Where everything is known, the readings are the same.
type armorReading struct {
	strict armor   // as bad as it can be: a guard that is not known guards nothing, and what lets in lets everybody in
	lax    []armor // as good as it can be
	open   string  // the first value that is known only after apply; "" if all are known
}

// armorReading reads the rules of a security policy: those of the resource itself, and those that resources of their
// own add to it. A rule in preview is logged and not enforced, and decides nothing.
func (p *plan) armorReading(policy *planned) armorReading {
	// Two rules ask for it, and the expressions are long.
	if a, ok := p.armors[policy]; ok {
		return a
	}

	a := armorReading{lax: make([]armor, 2)}
	for i, n := range append(slices.Clone(items(policy.after.at("rule"))), items(policy.after.at("rules"))...) {
		a.add(n, n.hidden(fmt.Sprintf("%s.rule[%d]", policy.address, i), armorFields()...))
	}

	separate := map[string]string{globalArmor: globalArmorRule, regionalArmor: regionalArmorRule}[policy.kind]
	attached := p.attachments(separate, "security_policy", policy.kind)
	for _, other := range attached[policy] {
		a.add(other.after, other.after.hidden(other.address, armorFields()...))
	}

	// A rule whose policy is not known may be one of this policy, or of none.
	for _, other := range attached[nil] {
		if hidden := other.after.hidden(other.address, armorFields()...); hidden != "" {
			a.add(other.after, hidden)
			continue
		}
		a.addLoose(other.after, other.address+".security_policy")
	}

	// "Rules are evaluated from highest to lowest priority where 0 is the highest".
	for _, all := range append(a.lax, a.strict) {
		slices.SortStableFunc(all, func(a, b armorRule) int { return cmp.Compare(a.priority, b.priority) })
	}
	p.armors[policy] = a

	return a
}

// armorFields are those of a rule that decide what it does.
func armorFields() []string {
	return []string{"action", "match", "preconfigured_waf_config", "preview", "priority", "rate_limit_options"}
}

// addLoose adds a rule that may be of another policy: at worst one that lets in is here, at best one that guards.
func (a *armorReading) addLoose(n *node, hidden string) {
	r := readArmorRule(n)
	if isOneOf(n.at("preview"), "true") {
		return
	}

	a.open = cmp.Or(a.open, hidden)
	switch {
	case r.denies():
		a.lax[0], a.lax[1] = append(a.lax[0], r), append(a.lax[1], r)
	case r.limits:
		a.lax[1] = append(a.lax[1], r)
		r.limits = false
		fallthrough
	default:
		a.strict = append(a.strict, r)
	}
}

// add adds a rule to each reading. hidden is what of it is known only after apply, or "".
func (a *armorReading) add(n *node, hidden string) {
	r := readArmorRule(n)
	if hidden == "" {
		if !isOneOf(n.at("preview"), "true") {
			a.strict = append(a.strict, r)
			a.lax[0], a.lax[1] = append(a.lax[0], r), append(a.lax[1], r)
		}
		return
	}

	a.open = cmp.Or(a.open, hidden)
	everybody := r
	everybody.everybody, everybody.text, everybody.condition = true, "", condition{}

	// A rule that denies may not be in force, or for nobody; one that lets in may let everybody in, and limit nobody.
	if !r.denies() {
		worst := everybody
		worst.limits = false
		a.strict = append(a.strict, worst)
	}

	// At best it denies all attacks, or limits everybody, or, if it can only let in, is not there.
	best := everybody
	switch action := n.at("action"); {
	case r.denies(), isUnknown(action):
		best.action = cmp.Or(r.action, "deny(403)")
		a.lax[0], a.lax[1] = append(a.lax[0], best), append(a.lax[1], best)
	case isOneOf(action, "throttle", "rate_based_ban"):
		best.limits = true
		a.lax[1] = append(a.lax[1], best)
	}
}

func readArmorRule(n *node) armorRule {
	r := armorRule{action: n.at("action").written(), limits: limited(n.block("rate_limit_options")),
		text: n.block("match").block("expr").at("expression").written()}
	r.condition = parseCondition(r.text)

	// An exclusion that leaves nothing of a rule set makes the rule look for nothing of it.
	for _, e := range items(n.at("preconfigured_waf_config")) {
		for _, exclusion := range slices.Concat(items(e.at("exclusion")), items(e.at("exclusions"))) {
			if excludesAll(exclusion) {
				r.excluded = append(r.excluded, exclusion.at("target_rule_set").written())
			}
		}
	}

	// Addresses are read only without an expression: Cloud Armor takes one or the other.
	if r.text == "" {
		r.ranges, r.everybody = sources(n.block("match").block("config").at("src_ip_ranges"))
	}

	// Without a known priority the rule may come first, or too late: a rule that denies is taken to come last, any
	// other to come first.
	priority, err := strconv.ParseInt(n.at("priority").written(), 10, 64)
	switch {
	case err == nil:
		r.priority = priority
	case r.denies():
		r.priority = math.MaxInt64
	default:
		r.priority = -1
	}

	return r
}

// limited reports whether options of a rate limit limit anything: what exceeds the rate must not be allowed all the
// same.
func limited(options *node) bool {
	return present(options) && !isOneOf(options.at("exceed_action"), "allow")
}

func (r armorRule) denies() bool { return strings.HasPrefix(r.action, "deny") }

// sources reads the ranges of addresses that a rule matches. Ranges that are not known may be "*", and are taken to be.
func sources(n *node) (ranges []netip.Prefix, everybody bool) {
	if n == nil || n.kind != nodeList || len(n.items) == 0 {
		return nil, true
	}

	for _, r := range n.items {
		if r.kind == nodeUnknown || r.written() == "*" {
			return nil, true
		}
		if p, ok := addressRange(r.written()); ok {
			ranges = append(ranges, p)
		}
	}

	return ranges, false
}

// coversAll reports whether ranges cover all addresses of IPv4, or of IPv6, in one range or in several.
func coversAll(ranges []netip.Prefix) bool {
	for _, family := range []string{"0.0.0.0/0", "::/0"} {
		open := false
		for _, part := range crowds(netip.MustParsePrefix(family), ranges) {
			open = open || !slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(part.address) })
		}
		if !open {
			return true
		}
	}

	return false
}

// addressRange reads a range, or a single address.
func addressRange(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true
	}

	return netip.Prefix{}, false
}

// excludesAll reports whether an exclusion leaves nothing of a rule set: all of its rules, in any field of one part of
// requests, or for every path.
func excludesAll(n *node) bool {
	// An exclusion of single rules leaves the others at work.
	if isSet(n.at("target_rule_ids")) {
		return false
	}

	// Terraform has "request_header" with "operator" and "value", the API "requestHeadersToExclude" with "op" and
	// "val".
	for part, written := range map[string]string{"request_header": "request_headers_to_exclude",
		"request_cookie": "request_cookies_to_exclude",
		"request_uri":    "request_uris_to_exclude", "request_query_param": "request_query_params_to_exclude"} {
		for _, field := range slices.Concat(items(n.at(part)), items(n.at(written))) {
			value := cmp.Or(field.at("value").written(), field.at("val").written())
			operator := cmp.Or(field.at("operator").written(), field.at("op").written())
			if operator == "EQUALS_ANY" || value == "" || part == "request_uri" && value == "/" &&
				operator != "EQUALS" {
				return true
			}
		}
	}

	return false
}

// A request is what is assumed of one when a policy is tried on it.
type request struct {
	address netip.Addr
	attack  string          // the family of signatures that match it, such as "sqli-"
	facts   map[string]bool // what else the expressions of the policy ask about
}

// decide returns the rule that decides a request; nil where none does, and Cloud Armor's default lets it pass.
func (a armor) decide(q request) *armorRule {
	for i := range a {
		if a[i].matches(q) {
			return &a[i]
		}
	}
	return nil
}

func (r *armorRule) matches(q request) bool {
	// Without an expression only the address decides.
	if r.text == "" {
		return r.everybody || slices.ContainsFunc(r.ranges, func(p netip.Prefix) bool { return p.Contains(q.address) })
	}

	// An expression that cannot be read is taken to match where that is worse.
	if r.condition.root == nil {
		return !r.denies() && q.facts[r.text]
	}

	// A rule applies only where its condition certainly holds.
	return r.condition.value(func(e ast.Expr) truth { return truthOf(r.holds(e, q)) }) == always
}

// holds is the value of one question of an expression for a request.
func (r *armorRule) holds(e ast.Expr, q request) bool {
	if e.Kind() == ast.CallKind {
		call := e.AsCall()

		switch args := call.Args(); {
		case strings.HasPrefix(call.FunctionName(), "evaluatePreconfigured") && len(args) > 0:
			set, _ := literal(args[0]).(string)
			return q.attack != "" && strings.HasPrefix(set, q.attack) && !silenced(call) &&
				!slices.Contains(r.excluded, set)
		case call.FunctionName() == "inIpRange" && len(args) == 2:
			text, _ := literal(args[1]).(string)
			p, ok := addressRange(text)

			return ok && p.Contains(q.address)
		}
	}

	return q.facts[written(e)]
}

// questions are what the expressions of a policy ask about besides attacks and addresses. Those of rules that deny or
// limit come first.
func (a armor) questions() []question {
	var guards, others []question
	for i := range a {
		r := &a[i]
		add := func(q question) {
			if r.denies() || r.limits {
				guards = append(guards, q)
			} else {
				others = append(others, q)
			}
		}

		// A text that does not parse is a question as a whole: whether it holds is not known.
		if r.condition.root == nil && r.text != "" {
			add(question{text: r.text})
			continue
		}

		r.condition.value(func(e ast.Expr) truth {
			name := ""
			if e.Kind() == ast.CallKind {
				name = e.AsCall().FunctionName()
			}
			if !strings.HasPrefix(name, "evaluatePreconfigured") && name != "inIpRange" {
				add(questionOf(e))
			}

			return sometimes
		})
	}

	// Each question is kept once, however many rules ask it: every one doubles the trials.
	var out []question
	for _, q := range append(guards, others...) {
		if !slices.ContainsFunc(out, func(known question) bool { return known.text == q.text }) {
			out = append(out, q)
		}
	}

	return out
}

// prefixes are the ranges that the policy tells apart.
func (a armor) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for i := range a {
		out = append(out, a[i].ranges...)
		a[i].condition.value(func(e ast.Expr) truth {
			if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == "inIpRange" && len(e.AsCall().Args()) == 2 {
				text, _ := literal(e.AsCall().Args()[1]).(string)
				if p, ok := addressRange(text); ok {
					out = append(out, p)
				}
			}

			return sometimes
		})
	}

	return out
}

// A crowd is a set of addresses that no rule tells apart: one of them, and their share of all.
type crowd struct {
	address netip.Addr
	share   float64
}

// crowds divides all addresses of one family by the ranges of a policy.
func crowds(family netip.Prefix, ranges []netip.Prefix) []crowd {
	// A range that covers the family is the family itself; the other family's are no part of this one.
	all := []netip.Prefix{family}
	for _, p := range ranges {
		if p.Addr().Is4() == family.Addr().Is4() && p.Bits() > 0 && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}

	var out []crowd
	for _, p := range all {
		// Ranges lie within each other or apart. The addresses of one and of none
		// within it are its own.
		share, candidates := math.Pow(2, -float64(p.Bits())), []netip.Addr{p.Addr()}
		var within []netip.Prefix
		for _, inner := range all {
			if inner.Bits() > p.Bits() && p.Contains(inner.Addr()) {
				within = append(within, inner)
			}
		}

		for _, inner := range within {
			if !slices.ContainsFunc(within, func(o netip.Prefix) bool {
				return o.Bits() < inner.Bits() &&
					o.Contains(inner.Addr())
			}) {
				share -= math.Pow(2, -float64(inner.Bits()))
			}
			candidates = append(candidates, lastOf(inner).Next())
		}

		// The first address that no inner range has stands for the crowd.
		for _, address := range candidates {
			if address.IsValid() && p.Contains(address) &&
				!slices.ContainsFunc(within, func(o netip.Prefix) bool { return o.Contains(address) }) {
				out = append(out, crowd{address: address, share: share})
				break
			}
		}
	}

	return out
}

// lastOf is the last address of a range.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 1 << (7 - i%8)
	}

	last, _ := netip.AddrFromSlice(b)

	return last
}
