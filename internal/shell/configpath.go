package shell

import (
	"regexp"
	"strconv"
)

var (
	plainElement = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	listElement  = regexp.MustCompile(`^\[[0-9]+\]$`)
)

// Element is the name of an element of a list in a path of the configuration.
func Element(i int) string { return "[" + strconv.Itoa(i) + "]" }

// IsElement tells whether a name is an element's.
func IsElement(name string) bool { return listElement.MatchString(name) }

// ConfigPath writes names as `pulumi config set --path` reads them.
func ConfigPath(root string, names ...string) string {
	path := root
	for _, name := range names {
		switch {
		case IsElement(name):
			path += name
		case plainElement.MatchString(name):
			path += "." + name
		default:
			path += "[" + strconv.Quote(name) + "]"
		}
	}
	return path
}
