import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.ReplicaInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;

/**
 * Moves a replica to another log directory with Kafka's own admin client, and waits until it is
 * there: BOOTSTRAP TOPIC PARTITION BROKER DIRECTORY. Prints what the broker says of its directories
 * then, sorted: directory, whether it has the log.
 */
public final class MoveLog {
    public static void main(String[] words) throws Exception {
        String topic = words[1];
        int partition = Integer.parseInt(words[2]);
        int broker = Integer.parseInt(words[3]);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", words[0]))) {
            TopicPartitionReplica replica = new TopicPartitionReplica(topic, partition, broker);
            admin.alterReplicaLogDirs(Map.of(replica, words[4])).all().get();
            long deadline = System.currentTimeMillis() + 60_000;
            while (true) {
                Map<String, LogDirDescription> found =
                    admin.describeLogDirs(List.of(broker)).allDescriptions().get().get(broker);
                TopicPartition wanted = new TopicPartition(topic, partition);
                ReplicaInfo there = found.get(words[4]).replicaInfos().get(wanted);
                if (there != null && !there.isFuture()) {
                    found.entrySet().stream().sorted(Map.Entry.comparingByKey())
                        .forEach(each -> System.out.println(
                            each.getKey() + " " + each.getValue().replicaInfos().containsKey(wanted)));
                    return;
                }
                if (System.currentTimeMillis() > deadline) {
                    throw new IllegalStateException("it does not arrive: " + found);
                }
                Thread.sleep(50);
            }
        }
    }
}
