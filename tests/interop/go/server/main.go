// A grpc-go server, whose listener comes by xDS or not; it knows nothing of meshlib.
//
// Usage: server plain|tls|xds HOST:PORT ANSWER [DELAY [N]]; the bootstrap stands in
// GRPC_XDS_BOOTSTRAP_CONFIG, the files of TLS in CHAIN, KEY and ROOTS. It answers after a delay, if one is given, and each Nth call not at
// all. Its address, and then each change of its serving mode, are printed as a line of JSON. It
// ends with its standard input.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"

	"meshlib/judges/internal/raw"
)

type servant interface {
	grpc.ServiceRegistrar
	Serve(net.Listener) error
	Stop()
}

func main() {
	listener, err := net.Listen("tcp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	say(map[string]string{"address": listener.Addr().String()})
	server, err := made(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server.RegisterService(service(answering(os.Args[3:])), nil)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

func made(kind string) (servant, error) {
	codec := grpc.ForceServerCodec(raw.Codec{})
	switch kind {
	case "plain":
		return grpc.NewServer(codec), nil
	case "tls":
		config, err := mutual(os.Getenv("CHAIN"), os.Getenv("KEY"), os.Getenv("ROOTS"))
		return grpc.NewServer(codec, grpc.Creds(credentials.NewTLS(config))), err
	}
	byXds, err := xdscreds.NewServerCredentials(
		xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()},
	)
	if err != nil {
		return nil, err
	}
	return xds.NewGRPCServer(codec, grpc.Creds(byXds), xds.ServingModeCallback(tell))
}

func mutual(chain, key, roots string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(chain, key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(roots)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}

func tell(_ net.Addr, now xds.ServingModeChangeArgs) {
	said := map[string]string{"mode": now.Mode.String()}
	if now.Err != nil {
		said["error"] = now.Err.Error()
	}
	say(said)
}

func say(line map[string]string) {
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

func answering(words []string) grpc.UnaryHandler {
	var (
		delay time.Duration
		nth   int64
		err   error
		calls atomic.Int64
	)
	if len(words) > 1 {
		if delay, err = time.ParseDuration(words[1]); err != nil {
			log.Fatal(err)
		}
	}
	if len(words) > 2 {
		if nth, err = strconv.ParseInt(words[2], 10, 64); err != nil {
			log.Fatal(err)
		}
	}
	return func(context.Context, any) (any, error) {
		time.Sleep(delay)
		if nth > 0 && calls.Add(1)%nth == 0 {
			return nil, status.Error(codes.Unavailable, "not this time")
		}
		said := []byte(words[0])
		return &said, nil
	}
}

func service(serve grpc.UnaryHandler) *grpc.ServiceDesc {
	are := func(
		_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor,
	) (any, error) {
		var question []byte
		if err := decode(&question); err != nil {
			return nil, err
		}
		if intercept == nil {
			return serve(ctx, &question)
		}
		return intercept(ctx, &question, &grpc.UnaryServerInfo{FullMethod: raw.Path}, serve)
	}
	return &grpc.ServiceDesc{
		ServiceName: raw.Service,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: raw.Method, Handler: are}},
	}
}
