package internet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"openclaw-azure/lab/internal/place"
)

// certificate gives the one of every server, made at each start and signed by the lab's own authority. That one stays: a
// host may trust it.
func certificate(path, keyPath string) (tls.Certificate, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := makeAuthority(path, keyPath); err != nil {
			return tls.Certificate{}, err
		}
	}
	authority, err := tls.LoadX509KeyPair(path, keyPath)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("the authority of the lab's Internet: %w\nwithout %s the next start makes another", err, path)
	}
	known, err := parseNames("names.default", defaultNames)
	if err != nil {
		return tls.Certificate{}, err
	}
	hosts := []string{"*.good.example"}
	for name := range known {
		hosts = append(hosts, strings.TrimSuffix(name, "."))
	}
	slices.Sort(hosts)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "the lab's Internet"},
		DNSNames: hosts, IPAddresses: []net.IP{net.ParseIP(place.OriginAddress), net.ParseIP(place.ElsewhereAddress)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, leaf, authority.Leaf, key.Public(), authority.PrivateKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}, nil
}

func makeAuthority(path, keyPath string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "the authority of a lab's Internet"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key first: where the other is, both are.
	if err := os.WriteFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), 0o644)
}

// serial is random: a client may remember the one of a lab before, of the same authority's name.
func serial() *big.Int {
	number := make([]byte, 16)
	_, _ = rand.Read(number) // it does not fail
	number[0] &= 0x7f
	return new(big.Int).SetBytes(number)
}
