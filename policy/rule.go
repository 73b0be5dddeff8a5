package policy

// A rule is a compiled CEL expression.
type rule struct{ Rule }

func (v *validator) ruleList([]Rule) {}
func (j *judge) rules()              {}
