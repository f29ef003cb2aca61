// Package reclaim says how idle a machine of Oracle's Always Free kind is by Oracle's own measure,
// since idle ones are taken back: over seven days, all of these below 20 %: the 95th percentile of
// the CPU's use, the network's use and, on A1 shapes, the memory's use. See "Reclamation of Idle
// Compute Instances" in
// https://docs.oracle.com/iaas/Content/FreeTier/freetier_topic-Always_Free_Resources.htm
//
// It only tells: nothing is done to seem busy.
package reclaim
