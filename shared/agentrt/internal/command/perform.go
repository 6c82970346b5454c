package command

import (
	"context"
	"fmt"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
	"fairlead.dev/shared/specpb"
	"fairlead.dev/shared/workload"
)

// acts reports whether a command has an effect. Others are done again when
// they are delivered again.
func acts(c *agentv1.Command) bool { return c.GetContainer() != nil || c.GetUpdate() != nil }

// containerOf is the container that a command is about; the zero value when it
// is about none.
func containerOf(c *agentv1.Command) workload.ContainerID {
	switch act := c.GetAct().(type) {
	case *agentv1.Command_Container:
		return workload.ContainerID{Prefix: act.Container.GetPrefix(), Name: act.Container.GetName()}
	case *agentv1.Command_ReadLogs:
		return workload.ContainerID{Prefix: act.ReadLogs.GetPrefix(), Name: act.ReadLogs.GetName()}
	case *agentv1.Command_Inspect:
		return workload.ContainerID{Prefix: act.Inspect.GetPrefix(), Name: act.Inspect.GetName()}
	case *agentv1.Command_Plan: // about none, but plans of one prefix wait for each other
		return workload.ContainerID{Prefix: act.Plan.GetDeployment().GetPrefix()}
	default:
		return workload.ContainerID{}
	}
}

// known fails with Unsupported when this agent cannot do what is asked.
func known(c *agentv1.Command) error {
	switch act := c.GetAct().(type) {
	case *agentv1.Command_ReadLogs, *agentv1.Command_Inspect, *agentv1.Command_Update, *agentv1.Command_Plan:
		return nil
	case *agentv1.Command_Container:
		op := act.Container.GetOperation()
		if op <= agentv1.ContainerOperation_CONTAINER_OPERATION_UNSPECIFIED || op > agentv1.ContainerOperation_CONTAINER_OPERATION_DELETE {
			return apperr.New(apperr.Unsupported, "this agent does not know the operation %d; update it", op)
		}
		return nil
	default:
		return apperr.New(apperr.Unsupported, "this agent does not know the command; update it")
	}
}

// perform carries out a command with an effect.
func (e *Executor) perform(ctx context.Context, c *agentv1.Command, id workload.ContainerID) error {
	if order := c.GetUpdate(); order != nil {
		if e.config.Update == nil {
			return apperr.New(apperr.Unsupported, "this agent cannot replace itself: run the install script on the node")
		}
		return e.config.Update(ctx, c.GetId(), order)
	}
	return e.act(ctx, c.GetContainer().GetOperation(), id)
}

func (e *Executor) act(ctx context.Context, op agentv1.ContainerOperation, id workload.ContainerID) error {
	driver := e.config.Driver
	switch op {
	case agentv1.ContainerOperation_CONTAINER_OPERATION_START:
		return driver.Start(ctx, id)
	case agentv1.ContainerOperation_CONTAINER_OPERATION_STOP:
		return driver.Stop(ctx, id)
	case agentv1.ContainerOperation_CONTAINER_OPERATION_RESTART:
		return driver.Restart(ctx, id)
	case agentv1.ContainerOperation_CONTAINER_OPERATION_DELETE:
		return driver.Delete(ctx, id)
	default:
		return apperr.New(apperr.Unsupported, "this agent does not know the operation %d; update it", op)
	}
}

// read puts into the result what a command asks for.
func (e *Executor) read(ctx context.Context, c *agentv1.Command, id workload.ContainerID, result *agentv1.CommandResult) (err error) {
	if ask := c.GetReadLogs(); ask != nil {
		result.Lines, err = e.readLogs(ctx, id, int(ask.GetTail()))
		return err
	}
	if ask := c.GetPlan(); ask != nil {
		result.Plan, err = e.plan(ctx, ask.GetDeployment())
		return err
	}
	result.Inspection, err = e.config.Driver.Inspect(ctx, id)
	if err == nil && len(result.Inspection) > MaxInspection {
		return apperr.New(apperr.Unsupported, "what the engine tells of container %s has %d bytes, more than the %d that can be sent",
			spec.ContainerName(id.Prefix, id.Name), len(result.Inspection), MaxInspection)
	}
	return err
}

// plan returns what applying a deployment would do now.
func (e *Executor) plan(ctx context.Context, message *agentv1.Deployment) (*agentv1.Plan, error) {
	d, err := specpb.DeploymentFromProto(message)
	if err != nil {
		return nil, err
	}
	if err := spec.Validate(d).Err(); err != nil {
		return nil, err
	}
	plan, err := e.config.Driver.Plan(ctx, d)
	if err != nil {
		return nil, err
	}
	return specpb.PlanToProto(plan), nil
}

// readLogs returns the last lines that fit.
func (e *Executor) readLogs(ctx context.Context, id workload.ContainerID, tail int) ([]*agentv1.LogLine, error) {
	if tail <= 0 || tail > MaxLogLines {
		tail = MaxLogLines
	}
	var lines []*agentv1.LogLine
	size := 0
	err := e.config.Driver.Logs(ctx, id, workload.LogOptions{Tail: tail}, func(l workload.LogLine) error {
		line := specpb.LogLineToProto(l)
		lines = append(lines, line)
		size += len(line.GetText())
		for len(lines) > tail || size > MaxLogBytes {
			size -= len(lines[0].GetText())
			lines = lines[1:]
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", spec.ContainerName(id.Prefix, id.Name), err)
	}
	return lines, nil
}
