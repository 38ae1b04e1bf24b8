package command

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/retry"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func (r *run) remote(ctx context.Context, urn string, in remoteInputs, text string, previous output) (output, error) {
	client, err := r.dial(ctx, urn, in.Connection)
	if err != nil {
		return output{}, err
	}
	session, err := client.NewSession()
	if err != nil {
		return output{}, err
	}
	defer session.Close()
	for name, value := range in.Environment {
		if err := session.Setenv(name, value); err != nil {
			r.refusedVariable(pulumirpc.LogSeverity_ERROR, urn, name)
			return output{}, fmt.Errorf("could not set environment variable %q: %w", name, err)
		}
	}
	if in.addsPrevious() {
		if previous.stdout != "" && session.Setenv(stdoutVariable, previous.stdout) != nil {
			r.refusedVariable(pulumirpc.LogSeverity_WARNING, urn, stdoutVariable)
		}
		if previous.stderr != "" && session.Setenv(stderrVariable, previous.stderr) != nil {
			r.refusedVariable(pulumirpc.LogSeverity_WARNING, urn, stderrVariable)
		}
	}
	if in.Stdin != nil && *in.Stdin != "" {
		session.Stdin = strings.NewReader(*in.Stdin)
	}
	out := r.capture(urn)
	session.Stdout = out.stream(&out.stdout, in.logs("stdout"))
	session.Stderr = out.stream(&out.stderr, in.logs("stderr"))
	// Neither ctx nor a time limit reaches a command that runs: it has to have a limit of its own.
	return out.finish(session.Run(text), text)
}

func (r *run) refusedVariable(severity pulumirpc.LogSeverity, urn, name string) {
	r.Engine.Log(severity, urn, fmt.Sprintf("Unable to set '%s': the SSH server takes only variables that its AcceptEnv names", name))
}

// dial connects, by way of the proxy where there is one.
func (r *run) dial(ctx context.Context, urn string, c *connectionInputs) (*ssh.Client, error) {
	config, err := c.clientConfig()
	if err != nil {
		return nil, err
	}
	if c.Proxy == nil {
		return retryDial(ctx, r, urn, "Dial", c.limit(), func() (*ssh.Client, error) {
			return r.dialOnce(c.address(), config, nil)
		})
	}
	proxyConfig, err := c.Proxy.clientConfig()
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	proxy, err := retryDial(ctx, r, urn, "Dial proxy", c.Proxy.limit(), func() (*ssh.Client, error) {
		return r.dialOnce(c.Proxy.address(), proxyConfig, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	conn, err := retryDial(ctx, r, urn, "Dial from proxy", c.limit(), func() (net.Conn, error) {
		return proxy.Dial("tcp", c.address())
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	client, err := retryDial(ctx, r, urn, "Dial", c.limit(), func() (*ssh.Client, error) {
		return r.dialOnce(c.address(), config, conn)
	})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return client, nil
}

// dialOnce makes one connection. perDialTimeout bounds the TCP connect alone: a peer that accepts and says nothing
// holds the operation for ever.
func (r *run) dialOnce(address string, config *ssh.ClientConfig, conn net.Conn) (*ssh.Client, error) {
	if conn == nil {
		var err error
		if conn, err = net.DialTimeout("tcp", address, config.Timeout); err != nil {
			return nil, err
		}
		r.mu.Lock()
		r.conns = append(r.conns, conn)
		r.mu.Unlock()
	}
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// retryDial tries again after every error, a refused key and a wrong host key included: 100 ms, then half as long
// again each time up to 5 s, one dial more than the limit.
func retryDial[T any](ctx context.Context, r *run, urn, what string, limit int, dial func() (T, error)) (T, error) {
	var result T
	ok, _, err := retry.Until(ctx, retry.Acceptor{Accept: func(try int, _ time.Duration) (bool, any, error) {
		var err error
		if result, err = dial(); err == nil {
			return true, nil, nil
		}
		dials := try + 1
		if limit > -1 && dials > limit {
			return true, nil, fmt.Errorf("after %d failed attempts: %w", try, err)
		}
		of := strconv.Itoa(limit)
		if limit == -1 {
			of = "inf"
		}
		r.Engine.Status(pulumirpc.LogSeverity_INFO, urn, fmt.Sprintf("%s %d/%s failed: retrying", what, dials, of))
		return false, nil, nil
	}})
	if err == nil && !ok {
		err = ctx.Err()
	}
	return result, err
}

func (e *endpoint) address() string {
	port := 22
	if e.Port != nil {
		port = int(*e.Port)
	}
	return net.JoinHostPort(*e.Host, strconv.Itoa(port))
}

func (e *endpoint) limit() int {
	if e.DialErrorLimit == nil {
		return 10
	}
	return *e.DialErrorLimit
}

func (e *endpoint) clientConfig() (*ssh.ClientConfig, error) {
	config := &ssh.ClientConfig{User: "root", HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 15 * time.Second}
	if e.User != nil {
		config.User = *e.User
	}
	if e.PerDialTimeout != nil {
		config.Timeout = time.Duration(*e.PerDialTimeout) * time.Second
	}
	if e.HostKey != nil {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(*e.HostKey))
		if err != nil {
			return nil, fmt.Errorf("failed to parse host key: %w", err)
		}
		config.HostKeyCallback = ssh.FixedHostKey(key)
		config.HostKeyAlgorithms = []string{key.Type()}
	}
	if e.PrivateKey != nil {
		signer, err := e.signer()
		if err != nil {
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if e.Password != nil {
		config.Auth = append(config.Auth, ssh.Password(*e.Password),
			ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i := range answers {
					answers[i] = *e.Password
				}
				return answers, nil
			}))
	}
	// An agent that does not answer fails the dial, even where a key is given.
	socket := os.Getenv("SSH_AUTH_SOCK")
	if e.AgentSocketPath != nil {
		socket = *e.AgentSocketPath
	}
	if socket != "" || e.AgentSocketPath != nil {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
	}
	return config, nil
}

func (e *endpoint) signer() (ssh.Signer, error) {
	if e.PrivateKeyPassword != nil {
		return ssh.ParsePrivateKeyWithPassphrase([]byte(*e.PrivateKey), []byte(*e.PrivateKeyPassword))
	}
	return ssh.ParsePrivateKey([]byte(*e.PrivateKey))
}
