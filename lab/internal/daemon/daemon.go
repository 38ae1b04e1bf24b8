// Package daemon is the lab's process in the background: it serves Azure's control plane at the operator's place,
// runs the machines behind it, lends them the package proxy, and is the Internet that they have.
package daemon

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"openclaw-azure/lab/internal/archive"
	"openclaw-azure/lab/internal/azure"
	"openclaw-azure/lab/internal/control"
	"openclaw-azure/lab/internal/host"
	"openclaw-azure/lab/internal/image"
	"openclaw-azure/lab/internal/internet"
	"openclaw-azure/lab/internal/place"
)

// Config says which lab to run.
type Config struct {
	Name   string
	Root   string // the repository
	Folder string // the lab's own
	Cache  string
}

// stopLimit bounds what ending the machines and networks may take.
const stopLimit = 30 * time.Second

// Run runs a lab until it is told to stop, and takes everything down that it has put up.
func Run(config Config) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	// Of its own: libraries switch the standard one off.
	logger := log.New(os.Stderr, "", log.LstdFlags|log.Lmicroseconds)

	claim, err := control.Claim(config.Name, config.Root)
	if err != nil {
		return err
	}
	defer claim.Close()
	networks := place.Networks{Lab: config.Name}
	// What a killed daemon has left.
	if err := cleanUp(ctx, networks); err != nil {
		return err
	}
	var machines *host.Host
	var controlPlane sync.WaitGroup
	down := sync.OnceValue(func() error {
		// What it has begun ends first, and puts that into its record: machines that went away under it would look like its failure.
		stop()
		controlPlane.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		var errs []error
		if machines != nil {
			errs = append(errs, machines.Close(ctx))
		}
		return errors.Join(append(errs, cleanUp(ctx, networks))...)
	})
	defer func() { err = errors.Join(err, down()) }()
	if err := networks.Create(ctx); err != nil {
		return err
	}

	sources, err := archive.Read(ctx)
	if err != nil {
		return err
	}
	proxy, err := archive.NewProxy(sources, filepath.Join(config.Cache, "packages"), logger)
	if err != nil {
		return err
	}
	registry, err := archive.Registry(ctx)
	if err != nil {
		return err
	}
	proxy.Mirror(registry, archive.NodePath(config.Cache))
	proxyListener, err := networks.Listen(place.Internet, net.JoinHostPort(place.ProxyAddress, strconv.Itoa(place.ProxyPort)))
	if err != nil {
		return err
	}
	outside, err := internet.New(internet.Config{
		Folder: filepath.Join(config.Folder, internet.Folder),
		Log:    logger,
		Listen: func(address string) (net.Listener, error) { return networks.Listen(place.Internet, address) },
		ListenPacket: func(address string) (net.PacketConn, error) {
			return networks.ListenPacket(place.Internet, address)
		},
	})
	if err != nil {
		return err
	}
	disk, err := image.New(sources, config.Cache)
	if err != nil {
		return err
	}
	machines, err = host.Open(filepath.Join(config.Folder, "machines"), disk.Path(), networks, logger.Printf)
	if err != nil {
		return err
	}
	provider, err := azure.New(machines, filepath.Join(config.Folder, "azure.json"))
	if err != nil {
		return err
	}
	provider.Log = logger
	provider.LimitsFile = filepath.Join(config.Folder, "subscription.json")
	azureListener, err := networks.Listen(place.Operator, "127.0.0.1:0")
	if err != nil {
		return err
	}
	managerListener, err := networks.Listen(place.Operator, "127.0.0.1:0")
	if err != nil {
		return err
	}
	provider.ManagerURL = "https://" + managerListener.Addr().String()
	certificate, err := azure.Certificate(filepath.Join(config.Folder, control.ManagerCertificate), net.IPv4(127, 0, 0, 1))
	if err != nil {
		return err
	}
	controlListener, err := control.Listen(config.Folder)
	if err != nil {
		return err
	}

	answers := &answers{machines: machines, provider: provider, down: down, status: control.Status{
		PID: os.Getpid(), Started: time.Now(), AzurePort: azureListener.Addr().(*net.TCPAddr).Port,
	}}
	ended := make(chan error, 5)
	go func() { ended <- http.Serve(proxyListener, proxy) }()
	go func() { ended <- outside.Serve(ctx) }()
	go func() {
		ended <- http.Serve(tls.NewListener(managerListener, &tls.Config{Certificates: []tls.Certificate{certificate}}), provider.Manager())
	}()
	controlPlane.Go(func() { ended <- provider.Serve(ctx, azureListener) })
	control := &http.Server{Handler: answers.mux()}
	go func() { ended <- control.Serve(controlListener) }()
	logger.Printf("lab %s runs", config.Name)
	select {
	case <-ctx.Done():
		err = nil
	case err = <-ended:
	}
	err = errors.Join(err, down())
	// The answer to the question that ended the daemon still has to go out.
	last, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(err, control.Shutdown(last))
}

func cleanUp(ctx context.Context, networks place.Networks) error {
	return errors.Join(networks.Remove(ctx), host.RemoveGroups(networks))
}

// answers are the daemon's, to the lab's own commands.
type answers struct {
	machines *host.Host
	provider *azure.Provider
	down     func() error
	status   control.Status
}

func (a *answers) mux() *http.ServeMux {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			value, err := answer(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_ = json.NewEncoder(w).Encode(value)
		})
	}
	handle("GET /status", func(*http.Request) (any, error) {
		status := a.status
		status.Machines = a.machines.States()
		return status, nil
	})
	handle("GET /machine", func(r *http.Request) (any, error) {
		id, err := a.at(r)
		if err != nil {
			return nil, err
		}
		return a.machines.Running(r.Context(), id)
	})
	handle("POST /reboot", func(r *http.Request) (any, error) {
		id, err := a.at(r)
		if err != nil {
			return nil, err
		}
		return nil, a.machines.RestartVM(r.Context(), id)
	})
	handle("POST /az", func(r *http.Request) (any, error) {
		return a.provider.Az(r.Context(), r.URL.Query()["arg"])
	})
	handle("POST /keys", func(r *http.Request) (any, error) {
		id, err := a.at(r)
		if err != nil {
			return nil, err
		}
		return nil, a.machines.Type(r.Context(), id, r.Body)
	})
	handle("GET /faults", func(*http.Request) (any, error) { return a.provider.Faults(), nil })
	handle("POST /faults", func(r *http.Request) (any, error) {
		var fault azure.Fault
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&fault); err != nil {
			return nil, fmt.Errorf("read the fault: %w", err)
		}
		a.provider.Inject(fault)
		return nil, nil
	})
	handle("DELETE /faults", func(*http.Request) (any, error) {
		a.provider.ClearFaults()
		return nil, nil
	})
	handle("POST /shutdown", func(*http.Request) (any, error) { return nil, a.down() })
	return mux
}

// at finds the machine at the place that a question names.
func (a *answers) at(r *http.Request) (string, error) {
	want := r.URL.Query().Get("place")
	for _, state := range a.machines.States() {
		if state.Place == want {
			return state.VMID, nil
		}
	}
	return "", fmt.Errorf("there is no host at %q\nbin/lab pulumi up makes it", want)
}
