package host

import (
	"testing"
	"time"

	"openclaw-azure/lab/internal/archive"
)

func TestVariables(t *testing.T) {
	const (
		noSuite = `LAB_SUITE: value "jammy": a lab's host is made of "trixie", which is Debian 13, or "noble", which is Ubuntu 24.04`
		noLike  = `LAB_LIKE: value "Ubuntu": a lab's host is made like "ubuntu", or as it is where this is empty`
		noTime  = `LAB_CLOUD_INIT: value "1m": a whole number of seconds is wanted`
	)
	for _, test := range []struct {
		suite, like, cloudInit, agent string
		want                          variables
		err                           string
	}{
		{"", "", "", "", variables{}, ""},
		{"trixie", "ubuntu", "60", "600", variables{true, time.Minute, 10 * time.Minute}, ""},
		{"noble", "", "0", "", variables{likeUbuntu: true}, ""},
		{"", "Ubuntu", "", "", variables{}, noLike},
		{"", "", "1m", "", variables{}, noTime},
		{"", "", "-1", "", variables{}, `LAB_CLOUD_INIT: value "-1": a whole number of seconds is wanted`},
		{"jammy", "Ubuntu", "1m", "1h", variables{}, noSuite + "\n" + noLike + "\n" + noTime + "\n" + `LAB_AGENT: value "1h": a whole number of seconds is wanted`},
	} {
		for name, value := range map[string]string{archive.SuiteVariable: test.suite, likeVariable: test.like, cloudInitVariable: test.cloudInit, agentVariable: test.agent} {
			t.Setenv(name, value)
		}
		got, err := readVariables()
		switch {
		case test.err == "" && (err != nil || got != test.want):
			t.Errorf("%+v: got %+v, %v", test, got, err)
		case test.err != "" && (err == nil || err.Error() != test.err):
			t.Errorf("%+v: got\n%v\nwant\n%s", test, err, test.err)
		}
	}
}
