// A grpc-go server whose listener comes by xDS; it knows nothing of meshlib.
//
// Usage: server HOST:PORT ANSWER; the bootstrap stands in GRPC_XDS_BOOTSTRAP_CONFIG. Each change
// of its serving mode is printed as a line of JSON. It ends with its standard input.
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/xds"

	"meshlib/judges/internal/raw"
)

type change struct {
	Mode  string `json:"mode"`
	Error string `json:"error,omitempty"`
}

func main() {
	changes := make(chan change, 16)
	server, err := xds.NewGRPCServer(
		grpc.Creds(insecure.NewCredentials()),
		grpc.ForceServerCodec(raw.Codec{}),
		xds.ServingModeCallback(func(_ net.Addr, now xds.ServingModeChangeArgs) {
			said := change{Mode: now.Mode.String()}
			if now.Err != nil {
				said.Error = now.Err.Error()
			}
			changes <- said
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	server.RegisterService(service(os.Args[2]), nil)
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for said := range changes {
			_ = json.NewEncoder(os.Stdout).Encode(said)
		}
	}()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

func service(answer string) *grpc.ServiceDesc {
	are := func(
		_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor,
	) (any, error) {
		var question []byte
		if err := decode(&question); err != nil {
			return nil, err
		}
		info := &grpc.UnaryServerInfo{FullMethod: raw.Path}
		return intercept(ctx, &question, info, func(context.Context, any) (any, error) {
			said := []byte(answer)
			return &said, nil
		})
	}
	return &grpc.ServiceDesc{
		ServiceName: raw.Service,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: raw.Method, Handler: are}},
	}
}
