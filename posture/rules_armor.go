package posture

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	globalArmor, regionalArmor         = "google_compute_security_policy", "google_compute_region_security_policy"
	globalArmorRule, regionalArmorRule = "google_compute_security_policy_rule", "google_compute_region_security_policy_rule"
)

// An armorRule is a rule of a Cloud Armor security policy.
type armorRule struct {
	priority  int64
	ordered   bool // the priority is known
	action    string
	preview   bool
	limits    bool // has rate_limit_options
	match     match
	condition condition
}

// A match says whom a rule is about.
type match int

const (
	matchSome match = iota
	matchAll
	matchNone
)

// armorRules are the rules of a security policy in the order in which Cloud
// Armor evaluates them: those of the resource itself, and those that resources
// of their own add to it.
func (c *judging) armorRules(p planned) []armorRule {
	all := append(items(p.after.at("rule")), items(p.after.at("rules"))...)
	separate := map[string]string{globalArmor: globalArmorRule, regionalArmor: regionalArmorRule}[p.kind]
	policies := 0

	for _, other := range c.s.surrounding {
		if other.kind == p.kind {
			policies++
		}
	}

	for _, other := range c.s.surrounding {
		if other.kind != separate {
			continue
		}

		// A reference to a resource of the same plan is known only after apply. It is
		// unambiguous where the plan has one policy; otherwise the rule is counted for
		// none, and a guard that may belong elsewhere lets nothing pass.
		ref := other.after.at("security_policy")
		name := ref.written()[strings.LastIndex(ref.written(), "/")+1:]
		if name == p.after.at("name").written() && name != "" || ref != nil && ref.kind == nodeUnknown && policies == 1 {
			all = append(all, other.after)
		}
	}

	rules := make([]armorRule, 0, len(all))
	for _, n := range all {
		rules = append(rules, readArmorRule(n))
	}

	// "Rules are evaluated from highest to lowest priority where 0 is the highest".
	slices.SortStableFunc(rules, func(a, b armorRule) int { return cmp.Compare(a.priority, b.priority) })

	return rules
}

func readArmorRule(n *node) armorRule {
	r := armorRule{
		action: n.at("action").written(), preview: isOneOf(n.at("preview"), "true"),
		limits: isSet(n.at("rate_limit_options")), condition: parseCondition(expressionOf(n)), match: matchOf(n),
	}

	priority, err := strconv.ParseInt(n.at("priority").written(), 10, 64)
	r.priority, r.ordered = priority, err == nil

	// Without a known priority the rule may come first, or too late. A rule that
	// ends the evaluation is taken to come first, any other to come last.
	if !r.ordered && r.match != matchAll {
		r.priority = math.MaxInt64
	}

	return r
}

func expressionOf(n *node) string {
	return n.block("match").block("expr").at("expression").written()
}

// matchOf reports whether a rule matches every request, or none.
func matchOf(n *node) match {
	m := n.block("match")
	if expression := expressionOf(n); expression != "" {
		switch parseCondition(expression).value(nil) {
		case always:
			return matchAll
		case never:
			return matchNone
		}

		return matchSome
	}

	// "SRC_IPS_V1" is the only other kind of match. Ranges that are not known may
	// be "*", and are taken to be.
	config := m.block("config")
	ranges := config.at("src_ip_ranges")
	if ranges == nil || ranges.kind != nodeList || len(ranges.items) == 0 {
		return matchAll
	}
	if everyAddress(ranges.items) {
		return matchAll
	}

	return matchSome
}

// everyAddress reports whether ranges cover all of IPv4, in one range or in
// several: 0.0.0.0/1 and 128.0.0.0/1 do.
func everyAddress(ranges []*node) bool {
	covered := 0.0
	for _, r := range ranges {
		if r.kind == nodeUnknown || r.written() == "*" {
			return true
		}
		if p, err := netip.ParsePrefix(r.written()); err == nil && p.Addr().Is4() {
			covered += math.Pow(2, -float64(p.Bits()))
		}
	}

	return covered >= 1
}

// inForce are the rules that can take effect: the first rule that matches ends
// the evaluation, so that a rule after one for everybody never has its turn. A
// rule in preview is logged and not enforced, and ends nothing. denied reports
// that such a rule denies everybody: no request gets past it.
func inForce(rules []armorRule) (reached []armorRule, denied bool) {
	for _, r := range rules {
		if r.preview || r.match == matchNone {
			continue
		}

		reached = append(reached, r)

		if r.match == matchAll {
			return reached, strings.HasPrefix(r.action, "deny")
		}
	}

	return reached, false
}

// armored applies wrong to the rules in force of every security policy that
// guards a backend.
func (c *judging) armored(required, terraform, fine string, wrong func([]armorRule) string) answer {
	judge := func(p planned) string {
		if !guardsBackends(p.after) {
			return ""
		}

		reached, denied := inForce(c.armorRules(p))
		if denied && len(reached) == 1 {
			return "" // denies every request, attacks and floods among them
		}

		return wrong(reached)
	}

	var faults []fault
	n := 0
	for _, p := range c.s.surrounding {
		if p.kind != globalArmor && p.kind != regionalArmor {
			continue
		}

		n++

		if w := judge(p); w != "" {
			faults = append(faults, fault{subject: p.address, found: clip(p.address) + " " + w})
		}
	}

	switch {
	case n == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated(required, remedy{terraform: terraform}, faults...)
	}

	return satisfied("%s", fine)
}

// guardsBackends reports whether a security policy is of the type that guards
// backend services. Any type but the known others is judged.
func guardsBackends(n *node) bool {
	return !isOneOf(n.at("type"), "CLOUD_ARMOR_EDGE", "CLOUD_ARMOR_NETWORK", "CLOUD_ARMOR_INTERNAL_SERVICE")
}

// wafRules asks for a rule that denies SQL injection and one that denies
// cross-site scripting, each before any rule that lets everybody in.
func wafRules(c *judging) answer {
	return c.armored("rules with deny(403) that evaluate sqli-v33-stable and xss-v33-stable, before any rule for all callers",
		block("rule", `action   = "deny(403)"`, `priority = 1000 # and a like rule for xss-v33-stable at 1001`,
			block("match", block("expr", `expression = "evaluatePreconfiguredWaf('sqli-v33-stable')"`))),
		"SQL injection and cross-site scripting are denied", func(reached []armorRule) string {
			var lacks []string
			for _, attack := range []string{"sqli-", "xss-"} {
				// The condition must hold where the signature matches: a negated call, one of
				// no sensitivity, or one beside "false" never denies an attack.
				if !slices.ContainsFunc(reached, func(r armorRule) bool {
					return strings.HasPrefix(r.action, "deny") && r.condition.detects(attack)
				}) {
					lacks = append(lacks, attack)
				}
			}

			if len(lacks) == 0 {
				return ""
			}

			return "denies no " + strings.Join(lacks, " and no ") + " attack"
		})
}

// rateLimited asks for a rule that throttles or bans. A rule without
// rate_limit_options has no threshold.
func rateLimited(c *judging) answer {
	return c.armored("a rule that throttles or bans, before any rule for all callers",
		block("rule", `action   = "throttle"`, "priority = 2000", block("match", `versioned_expr = "SRC_IPS_V1"`,
			block("config", `src_ip_ranges = ["*"]`)), block("rate_limit_options", `conform_action = "allow"`,
			`exceed_action  = "deny(429)"`, `enforce_on_key = "IP"`, block("rate_limit_threshold", "count        = 100",
				"interval_sec = 60"))), "callers are throttled or banned",
		func(reached []armorRule) string {
			if slices.ContainsFunc(reached, func(r armorRule) bool {
				return r.limits && (r.action == "throttle" || r.action == "rate_based_ban")
			}) {
				return ""
			}
			return "does not limit the rate of any caller"
		})
}
