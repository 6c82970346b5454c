package agentrt

// setQuarantine notes whether the controller keeps the agent in quarantine, and
// says so when that changes.
func (l *link) setQuarantine(why string) {
	switch why {
	case l.quarantine:
	case "":
		l.log.Info("this agent is out of quarantine")
	default:
		l.log.Error("this agent is in quarantine: its containers run on and are reported, but nothing is deployed and no command is carried out until somebody releases it in the controller", "reason", why)
	}
	l.quarantine = why
}
