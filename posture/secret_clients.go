package posture

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// A client is a program that takes a password in an argument whose name does not say so.
type client struct {
	programs []string
	flags    []string // the ones whose value is the password
	apart    bool     // the value is the next word
	attached bool     // the value follows the flag at once: -pVALUE
	mark     string   // the password is what follows this in the value: a name and a colon, for example
	only     string   // the flag is a password's only where one of the first words is this
	after    string   // the word after which the password stands by its place
	place    int      // which of the words after it, from 1 on; flags are not counted
}

// clients are those that images and probes are seen to use, by their manuals.
func clients() []client {
	return []client{
		{programs: []string{"redis-cli", "valkey-cli", "keydb-cli"}, flags: []string{"-a"}, apart: true},
		{programs: []string{
			"mysql", "mysqladmin", "mysqldump", "mysqlimport", "mysqlcheck", "mysqlshow", "mariadb", "mariadb-admin",
			"mariadb-dump", "mariadb-import", "mariadb-check", "mariadb-show",
		}, flags: []string{"-p"}, attached: true}, // apart it is the name of a database: the password is asked for
		{programs: []string{"sshpass"}, flags: []string{"-p"}, apart: true, attached: true},
		{programs: []string{
			"mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport", "mongostat", "mongotop",
		}, flags: []string{"-p"}, apart: true},
		{programs: []string{
			"ldapsearch", "ldapadd", "ldapmodify", "ldapdelete", "ldapcompare", "ldappasswd", "ldapwhoami", "ldapmodrdn",
		}, flags: []string{"-w"}, apart: true, attached: true},
		{programs: []string{"sqlcmd", "bcp"}, flags: []string{"-P"}, apart: true, attached: true},
		{programs: []string{"cqlsh", "rabbitmqadmin"}, flags: []string{"-p"}, apart: true},
		{programs: []string{"mosquitto_pub", "mosquitto_sub", "mosquitto_rr"}, flags: []string{"-P"}, apart: true},
		{programs: []string{"zip", "unzip"}, flags: []string{"-P"}, apart: true},
		{programs: []string{"7z", "7za", "7zr", "7zz"}, flags: []string{"-p"}, attached: true},
		{programs: []string{"docker", "podman", "nerdctl", "buildah", "skopeo", "helm", "oras", "crane"},
			flags: []string{"-p"}, apart: true, attached: true, only: "login"},
		{programs: []string{"curl"}, flags: []string{"-u", "--user", "-U", "--proxy-user"}, apart: true, attached: true,
			mark: ":"},
		{programs: []string{"lftp"}, flags: []string{"-u"}, apart: true, mark: ","},
		{programs: []string{"smbclient", "rpcclient", "smbget"}, flags: []string{"-U"}, apart: true, attached: true,
			mark: "%"},
		{programs: []string{"openssl"}, flags: []string{"-pass", "-passin", "-passout"}, apart: true, mark: "pass:"},
		{programs: []string{"rabbitmqctl"}, after: "add_user", place: 2},
		{programs: []string{"rabbitmqctl"}, after: "change_password", place: 2},
	}
}

// clientPassword says to which program a command passes a password, or "".
func clientPassword(words []string) string {
	for _, command := range commandsOf(words) {
		program := path.Base(command[0])
		for _, c := range clients() {
			if slices.Contains(c.programs, program) && c.passed(command[1:]) {
				return "passes a password to " + program
			}
		}
	}

	return ""
}

// passed reports whether the arguments of the client have a password in them.
func (c client) passed(args []string) bool {
	// What sshpass runs has flags of its own.
	if slices.Contains(c.programs, "sshpass") {
		args = args[:len(args)-len(runBySSHPass(args))]
	}
	if c.only != "" && !slices.Contains(args[:min(len(args), 4)], c.only) {
		return false
	}
	if c.after != "" {
		return c.placed(args)
	}

	for i, arg := range args {
		for _, flag := range c.flags {
			if value, found := strings.CutPrefix(arg, flag); found && value != "" && c.attached &&
				!strings.HasPrefix(flag, "--") && c.isPassword(value) {
				return true
			}
			if arg == flag && c.apart && i+1 < len(args) && c.isPassword(args[i+1]) {
				return true
			}
		}
	}

	return false
}

// placed reports whether a password stands at its place.
func (c client) placed(args []string) bool {
	i := slices.Index(args, c.after)
	if i < 0 {
		return false
	}
	names := slices.DeleteFunc(slices.Clone(args[i+1:]), func(arg string) bool { return strings.HasPrefix(arg, "-") })
	return len(names) >= c.place && c.isPassword(names[c.place-1])
}

// isPassword reports whether the value of a flag has a fixed password in it.
func (c client) isPassword(value string) bool {
	if c.mark != "" {
		_, password, marked := strings.Cut(value, c.mark)
		if !marked {
			return false
		}
		value = password
	}

	// A variable of the shell stands in place of the secret, and so does standard input.
	return value != "-" && !strings.HasPrefix(value, "$") && !strings.HasPrefix(value, "`") && !harmless(value)
}

var (
	assigning = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	howLong   = regexp.MustCompile(`^[0-9.]+[smhd]?$`)
)

// commandsOf are the commands of a shell's words, each from its program on: without assignments before it, and without
// what only runs it.
func commandsOf(words []string) [][]string {
	var out [][]string
	for len(words) > 0 {
		part := words
		if end := slices.IndexFunc(words, separates); end >= 0 {
			part, words = words[:end], words[end+1:]
		} else {
			words = nil
		}

		for part = withoutWrappers(part); len(part) > 0; {
			out = append(out, part)
			if path.Base(part[0]) != "sshpass" {
				break
			}
			part = withoutWrappers(runBySSHPass(part[1:]))
		}
	}

	return out
}

// separates reports a word that ends a command.
func separates(word string) bool { return strings.Trim(word, ";&|()\n") == "" }

// withoutWrappers leaves out what stands before a program.
func withoutWrappers(words []string) []string {
	for len(words) > 0 {
		switch word := path.Base(words[0]); {
		case assigning.MatchString(words[0]):
			words = words[1:]
		case slices.Contains([]string{"gosu", "su-exec", "chroot"}, word): // and whom, or where
			words = words[min(2, len(words)):]
		case slices.Contains([]string{
			"exec", "sudo", "env", "nohup", "nice", "time", "timeout", "command", "setsid", "tini", "dumb-init",
			"if", "then", "else", "elif", "do", "while", "until", "!", "{",
		}, word):
			words = words[1:]

			// Its own flags, and how long.
			for len(words) > 0 && (strings.HasPrefix(words[0], "-") || howLong.MatchString(words[0])) {
				words = words[1:]
			}
		default:
			return words
		}
	}

	return nil
}

// runBySSHPass is the command that sshpass runs, of its arguments.
func runBySSHPass(args []string) []string {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		n := 1
		if slices.Contains([]string{"-p", "-f", "-d", "-P"}, args[0]) {
			n = 2
		}
		args = args[min(n, len(args)):]
	}

	return args
}

// shellWords splits a shell's text into words, and into what ends a command. Quotes are taken off: what is judged is the
// word that the program gets. Nothing is expanded.
func shellWords(text string) []string {
	var words []string
	var word strings.Builder
	begun := false
	end := func() {
		if begun {
			words = append(words, word.String())
			word.Reset()
			begun = false
		}
	}

	var quote rune // ' or ", or 0
	escaped, comment := false, false
	for _, r := range text {
		switch {
		case comment:
			if comment = r != '\n'; !comment {
				words = append(words, "\n")
			}
		case escaped:
			// A line that ends with a backslash goes on with the next.
			if escaped = false; r != '\n' {
				word.WriteRune(r)
				begun = true
			}
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == '#' && !begun:
			comment = true
		case r == ' ' || r == '\t' || r == '\r':
			end()
		case strings.ContainsRune(";&|()\n", r):
			end()
			words = append(words, string(r))
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	end()

	return words
}
