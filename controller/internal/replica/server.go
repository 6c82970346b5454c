package replica

import (
	"context"
	"log/slog"
	"math"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"fairlead.dev/controller/internal/bulk"
	"fairlead.dev/controller/internal/bulkpb"
	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	replicav1 "fairlead.dev/protobuf/gen/fairlead/replica/v1"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/logging"
)

// ServerConfig is what a Server needs.
type ServerConfig struct {
	Broker *bulk.Broker
	// Ping asks an agent of this replica whether it is alive, within a time of
	// its own; NotHere when this replica does not have the session.
	Ping func(ctx context.Context, agentID uuid.UUID, epoch int64) (alive bool, bootID string, err error)
	// Health is what this replica can do now.
	Health func() Health
	Log    *slog.Logger
}

// Server answers the other replicas.
type Server struct {
	replicav1.UnimplementedRelayServiceServer
	ServerConfig
	log *slog.Logger
}

// NewServer returns a server; Register adds it to a listener's.
func NewServer(c ServerConfig) *Server {
	return &Server{ServerConfig: c, log: c.Log.With(logging.KeyComponent, "replica")}
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { replicav1.RegisterRelayServiceServer(r, s) }

// NotHere is the error of a session that this replica does not have.
func NotHere() error {
	return apperr.New(apperr.Precondition, "the session is not at this controller").WithReason(bulk.ReasonNotHere)
}

// Carry relays a stream of one of this replica's agents.
func (s *Server) Carry(relay grpc.BidiStreamingServer[replicav1.RelayDown, replicav1.RelayUp]) error {
	return toStatus(relay.Context(), s.log, s.carry(relay))
}

func (s *Server) carry(relay grpc.BidiStreamingServer[replicav1.RelayDown, replicav1.RelayUp]) error {
	ctx := relay.Context()
	from, err := caller(ctx)
	if err != nil {
		return err
	}
	first, err := relay.Recv()
	if err != nil {
		return err
	}
	agentID, epoch, err := sessionOf(first.GetOpen().GetSession())
	if err != nil {
		return err
	}
	request, err := bulkpb.RequestFrom(first.GetOpen().GetRequest())
	if err != nil {
		return err
	}
	stream, err := s.Broker.Open(ctx, agentID, epoch, request)
	if err != nil {
		s.log.Debug("refused to relay", "from", from, "agent", agentID, logging.KeyError, err)
		return err
	}
	defer stream.Close(nil)
	if err := relay.Send(&replicav1.RelayUp{Body: &replicav1.RelayUp_Opened{Opened: &replicav1.RelayOpened{}}}); err != nil {
		return err
	}
	go relayDown(relay, stream) // ends with the handler, which ends the call
	for {
		up, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := relay.Send(&replicav1.RelayUp{Body: &replicav1.RelayUp_Up{Up: bulkpb.Up(up)}}); err != nil {
			return err
		}
		if up.End != nil {
			return nil
		}
	}
}

func relayDown(relay grpc.BidiStreamingServer[replicav1.RelayDown, replicav1.RelayUp], stream bulk.Stream) {
	for {
		m, err := relay.Recv()
		if err != nil {
			return
		}
		if down := m.GetDown(); down != nil {
			if stream.Send(bulkpb.DownFrom(down)) != nil {
				return
			}
		}
	}
}

// Join takes what one of this replica's agents carries to another.
func (s *Server) Join(relay grpc.BidiStreamingServer[replicav1.JoinUp, replicav1.JoinDown]) error {
	return toStatus(relay.Context(), s.log, s.join(relay))
}

func (s *Server) join(relay grpc.BidiStreamingServer[replicav1.JoinUp, replicav1.JoinDown]) error {
	ctx := relay.Context()
	if _, err := caller(ctx); err != nil {
		return err
	}
	first, err := relay.Recv()
	if err != nil {
		return err
	}
	agentID, err := uuid.Parse(first.GetOpen().GetAgentId())
	if err != nil {
		return apperr.InvalidField("agent_id", nil, "must be a UUID")
	}
	carrier, err := s.Broker.Join(ctx, agentID, first.GetOpen().GetStreamId())
	if err != nil {
		return err
	}
	// The other replica waits for this before it lets the agent carry.
	if err := relay.Send(&replicav1.JoinDown{}); err != nil {
		carrier.Left()
		return err
	}
	return bulk.Bear(ctx, carrier,
		func() (bulk.Up, error) {
			m, err := relay.Recv()
			if err != nil {
				return bulk.Up{}, err
			}
			return bulkpb.UpFrom(m.GetUp())
		},
		func(d bulk.Down) error { return relay.Send(&replicav1.JoinDown{Down: bulkpb.Down(d)}) },
	)
}

// Ping asks an agent of this replica whether it is alive.
func (s *Server) Ping(ctx context.Context, req *replicav1.PingRequest) (*replicav1.PingResponse, error) {
	if _, err := caller(ctx); err != nil {
		return nil, toStatus(ctx, s.log, err)
	}
	agentID, epoch, err := sessionOf(req.GetSession())
	if err != nil {
		return nil, toStatus(ctx, s.log, err)
	}
	alive, bootID, err := s.ServerConfig.Ping(ctx, agentID, epoch)
	if err != nil {
		return nil, toStatus(ctx, s.log, err)
	}
	return &replicav1.PingResponse{Alive: alive, BootId: bootID}, nil
}

// Health tells what this replica can do now.
func (s *Server) Health(ctx context.Context, _ *replicav1.HealthRequest) (*replicav1.HealthResponse, error) {
	if _, err := caller(ctx); err != nil {
		return nil, toStatus(ctx, s.log, err)
	}
	h := s.ServerConfig.Health()
	return &replicav1.HealthResponse{Database: h.Database, Accepting: h.Accepting}, nil
}

func sessionOf(p *replicav1.Session) (uuid.UUID, int64, error) {
	agentID, err := uuid.Parse(p.GetAgentId())
	if err != nil || p.GetEpoch() > math.MaxInt64 {
		return uuid.Nil, 0, apperr.InvalidField("session", nil, "must name an agent and an epoch")
	}
	return agentID, int64(p.GetEpoch()), nil
}

func bulkUp(p *agentv1.BulkUp) *replicav1.JoinUp {
	return &replicav1.JoinUp{Body: &replicav1.JoinUp_Up{Up: p}}
}
