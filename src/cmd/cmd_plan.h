/*
 * `hpsae plan`: before main starts MPI, since it must run where there is none.
 */
#ifndef HPSAE_CMD_PLAN_H
#define HPSAE_CMD_PLAN_H

/* Local.  argv[1] is "plan".  Prints; returns the exit status. */
int hps_cmd_plan(int argc, char **argv);

#endif
